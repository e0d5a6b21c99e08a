"""What the fork server loads once, so that every child starts at work."""

import mlflow.tracking
import transformers.models.auto.modeling_auto

import flows.language_model
import pipeline.config

LOADED = (flows.language_model, pipeline.config, mlflow.tracking, transformers.models.auto)
