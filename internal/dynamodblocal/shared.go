package dynamodblocal

import (
	"context"
	"sync"
	"testing"

	"holdfast/internal/testenv"
)

// Prepared returns what `make test` prepared. Without it the test is skipped, or fails in CI.
func Prepared(t testing.TB) Config {
	t.Helper()
	return Config{Root: testenv.Need(t, "HOLDFAST_DYNAMODB_ROOT"), Dir: testenv.Need(t, "HOLDFAST_DYNAMODB_DIR")}
}

// Shared is one server, its tables in memory, for all tests of a package. Tests keep apart by their tables'
// names. TestMain closes it.
type Shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Server returns the server, started on first use.
func (s *Shared) Server(t testing.TB) *Server {
	t.Helper()
	config := Prepared(t)
	s.once.Do(func() { s.server, s.err = Start(context.Background(), config) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// Close ends the server if a test has started it.
func (s *Shared) Close() error {
	s.once.Do(func() {})
	if s.server == nil {
		return nil
	}
	return s.server.Close()
}
