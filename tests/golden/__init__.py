"""What the code gave when someone last looked: a change shows as a diff."""
