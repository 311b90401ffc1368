"""From observations to a report: normal form, noise, waivers, verdict."""
