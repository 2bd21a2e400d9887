"""CronJob: makes Jobs when the clock says so."""
