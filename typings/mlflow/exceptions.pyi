class MlflowException(Exception):
    error_code: str
    message: str
    @classmethod
    def invalid_parameter_value(cls, message: str) -> MlflowException: ...
