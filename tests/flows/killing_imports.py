"""What the fork server loads once, so that every child starts at work."""

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
import mlflow.tracking
import transformers.models.auto.modeling_auto

import flows.language_model
import pipeline.config
from pipeline.corpus import kernels

LOADED = (
    flows.language_model, pipeline.config, kernels, mlflow.tracking,
    mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store,
    transformers.models.auto,
)  # fmt: skip
