package reference

// ReadDenied is for tests.
var ReadDenied = readDenied
