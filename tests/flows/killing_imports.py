"""What the fork server loads once, so that every child starts at work."""

import flows.language_model
import pipeline.config

LOADED = (flows.language_model, pipeline.config)
