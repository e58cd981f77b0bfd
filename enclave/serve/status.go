package serve

import "net/http"

// Status is what a server is doing.
type Status struct {
	// AnyClient names the client that everybody is who is no other; empty if
	// only listed clients may ask.
	AnyClient   string            `json:"any_client,omitempty"`
	Warnings    []string          `json:"warnings,omitempty"`
	Connections int               `json:"connections"`
	InFlight    int               `json:"in_flight"`  // requests
	BodyBytes   int64             `json:"body_bytes"` // held
	Refused     map[string]uint64 `json:"refused"`    // requests, by rule
	KeyManager  bool              `json:"keymanager"`
	Enclave     any               `json:"enclave,omitempty"`
}

// anyWarning is what an operator should know of a client for everybody.
const anyWarning = "any client may ask, with a certificate or without"

// Status says what the server is doing.
func (s *Server) Status() Status {
	g := s.current.Load()
	status := Status{
		InFlight:   s.gate.inFlight(),
		BodyBytes:  s.bodies.Load(),
		Refused:    s.refused.counts(),
		KeyManager: g.KeyManager,
	}
	if s.enclave != nil {
		status.Enclave = s.enclave()
	}
	if l := s.listener.Load(); l != nil {
		status.Connections = l.connections()
	}
	if name, ok := g.Clients.Any(); ok {
		status.AnyClient = name
		status.Warnings = append(status.Warnings, anyWarning)
	}
	return status
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Status())
}
