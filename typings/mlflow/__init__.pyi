# What the plugin uses of mlflow, as typed as it can be; mlflow itself is not installed here.
