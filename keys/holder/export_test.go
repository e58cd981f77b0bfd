package holder

// Encode and ParseSecrets are the encoding, for tests.
func (s *Secrets) Encode() ([]byte, error) { return s.encode() }

var ParseSecrets = parseSecrets
