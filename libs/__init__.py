"""Libraries shared by Maestro's services. They import downwards only: access > bus > store > schemas > signing > runtime."""
