"""Between a server and another one."""
