"""From observations to a report: normal forms, noise, waivers, verdict."""
