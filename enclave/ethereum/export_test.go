package ethereum

// Routes lists the methods and paths of Register and KeyManager, for tests.
func (s *Service) Routes() map[string]bool {
	found := map[string]bool{}
	for _, r := range append(s.routes(), s.keyManagerRoutes()...) {
		found[r.method+" "+r.path] = true
	}
	return found
}
