"""Tests of service/tables/."""
