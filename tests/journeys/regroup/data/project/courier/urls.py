from django.urls import path

from mailing import views as mailing
from reporting import views as reporting

urlpatterns = [
    path("parcel/<str:ref>/", mailing.parcel),
    path("report/<str:ref>/", reporting.report),
]
