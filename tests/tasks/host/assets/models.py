"""Assets, prices and news."""

from django.db import models


class AssetType(models.Model):
    name = models.CharField(max_length=50, unique=True)


class Asset(models.Model):
    symbol = models.CharField(max_length=32, unique=True)
    asset_type = models.ForeignKey(AssetType, on_delete=models.PROTECT)
    is_active = models.BooleanField(default=True)


class AssetPricesHistoric(models.Model):
    asset = models.ForeignKey(Asset, on_delete=models.CASCADE)
    source = models.CharField(max_length=50)
    price = models.DecimalField(max_digits=20, decimal_places=8)
    timestamp = models.DateTimeField(db_index=True)


class Article(models.Model):
    url = models.URLField(unique=True)
    title = models.TextField()
