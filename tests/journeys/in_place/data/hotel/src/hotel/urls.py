from django.urls import path

from bookings import views

urlpatterns = [
    path("book/<str:kind>/<str:reference>", views.book),
    path("healthz", views.healthz),
]
