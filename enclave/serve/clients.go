package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/serve/access"
)

// connectionKey and clientKey are keys of a request's context.
type (
	connectionKey struct{}
	clientKey     struct{}
)

// withConnection puts a connection into the context of its requests.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, conn)
}

func connectionOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

// Policy returns what the client that sent a request may have signed: nothing, if
// it did not come through a server or from no client.
func Policy(r *http.Request) policy.Client {
	if c, ok := r.Context().Value(clientKey{}).(*access.Client); ok {
		return c.Policy
	}
	return policy.Client{}
}

// identify finds a request's client by the list in force, whatever list was in
// force when its connection was made.
func (g *generation) identify(r *http.Request) (*access.Client, *access.Refusal) {
	c, now := connectionOf(r.Context()), time.Now()
	if c != nil {
		if before := c.identified.Load(); before != nil && before.by == g && before.Holds(now) {
			return before.Client, nil
		}
	}
	var presented []*x509.Certificate
	if r.TLS != nil {
		presented = r.TLS.PeerCertificates
	}
	found, refusal := g.Clients.Identify(presented, now)
	if refusal == nil && c != nil {
		c.identified.Store(&identified{g, found})
	}
	return found.Client, refusal
}

// nobody is who asks where no client does, for the limits.
const nobody = ""

// open lets everybody through, client or not, as far as the limits allow.
func (s *Server) open(next http.Handler) http.Handler {
	return s.admit(func(w http.ResponseWriter, r *http.Request, _ *generation, _ *access.Refusal) {
		next.ServeHTTP(w, r)
	})
}

// known lets clients through, and tells others why they are none.
func (s *Server) known(next http.Handler) http.Handler {
	return s.admit(func(w http.ResponseWriter, r *http.Request, _ *generation, refusal *access.Refusal) {
		if refusal != nil {
			s.refuse(w, http.StatusForbidden, string(refusal.Rule), refusal.Error())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admit finds the client and a place for a request. The refusal says why there is
// no client.
func (s *Server) admit(next func(http.ResponseWriter, *http.Request, *generation, *access.Refusal)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g, c := s.current.Load(), connectionOf(r.Context())
		client, refusal := g.identify(r)
		// Whoever is no client keeps no connection, and so none from a client.
		if refusal != nil || c != nil && (c.surplus || c.presented.Load() != g) {
			w.Header().Set("Connection", "close")
		}
		if c != nil && c.surplus {
			s.busy(w, http.StatusServiceUnavailable, "connections", "too many connections")
			return
		}
		name, limits := nobody, g.Limits
		if refusal == nil {
			name = client.Policy.Name
			r = r.WithContext(context.WithValue(r.Context(), clientKey{}, client))
		}
		if refusal != nil {
			limits.InFlightPerClient = min(limits.InFlightPerClient, maxUnknown)
		}
		if !s.enter(w, name, limits) {
			return
		}
		defer s.gate.leave(name)
		next(w, r, g, refusal)
	})
}

func (s *Server) enter(w http.ResponseWriter, name string, limits Limits) bool {
	switch s.gate.enter(name, limits) {
	case full:
		s.busy(w, http.StatusServiceUnavailable, "in_flight", "too many requests are under way")
	case clientFull:
		s.busy(w, http.StatusTooManyRequests, "in_flight_per_client", "too many requests of this client are under way")
	default:
		return true
	}
	return false
}

// refuse answers with a rule's refusal, counts it and now and then logs it.
func (s *Server) refuse(w http.ResponseWriter, status int, rule, message string) {
	s.refused.add(rule, message)
	writeError(w, status, message)
}

// busy is refuse for what may succeed in a second.
func (s *Server) busy(w http.ResponseWriter, status int, rule, message string) {
	w.Header().Set("Retry-After", "1")
	s.refuse(w, status, rule, rule+": "+message)
}
