"""Models in forms that can be used without charrnn: a web page, and files of other libraries."""
