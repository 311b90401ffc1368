from django.urls import path

from jobs import views

urlpatterns = [
    path("order/<ref>", views.order),
    path("product/<ref>", views.product),
]
