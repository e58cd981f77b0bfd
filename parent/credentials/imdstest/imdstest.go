// Package imdstest is an EC2 instance metadata service for tests. It speaks version 2 alone, as an instance
// with HttpTokens=required: a request without a live session token gets 401 (EC2 User Guide, "Use the Instance
// Metadata Service to access instance metadata").
package imdstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/control/message"
)

// RoleName is the instance's role.
const RoleName = "holdfast-parent"

// Service is a metadata service.
type Service struct {
	URL string

	mu       sync.Mutex
	role     message.Credentials
	failure  string // the code of the answer; empty is Success
	hops     int    // a token request from further away is dropped
	distance int
	tokens   map[string]time.Time // to their expiry
	requests []string
}

// Start starts a service whose instance has a role with these credentials.
func Start(t testing.TB, role message.Credentials) *Service {
	t.Helper()
	s := &Service{role: role, hops: 1, distance: 1, tokens: map[string]time.Time{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", s.token)
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/", s.list)
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{role}", s.credentials)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// SetRole replaces the role's credentials.
func (s *Service) SetRole(role message.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.role = role
}

// Fail has the service answer with a code of failure, such as "AssumeRoleUnauthorizedAccess"; empty is success.
func (s *Service) Fail(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = code
}

// SetDistance sets how many hops away the client is. A token reaches clients one hop away, as with
// HttpPutResponseHopLimit=1: from a container the answer never arrives.
func (s *Service) SetDistance(hops int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.distance = hops
}

// ExpireTokens ends every session.
func (s *Service) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Requests are those so far, by method and path.
func (s *Service) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.requests...)
}

func (s *Service) note(r *http.Request) { s.requests = append(s.requests, r.Method+" "+r.URL.Path) }

// maxTTL is the longest session, six hours.
const maxTTL = 21600

func (s *Service) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(r)
	ttl := r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds")
	seconds, err := strconv.Atoi(ttl)
	switch {
	case s.distance > s.hops:
		panic(http.ErrAbortHandler) // the answer's packets die on the way
	case r.Header.Get("X-Forwarded-For") != "":
		w.WriteHeader(http.StatusForbidden)
		return
	case err != nil || seconds < 1 || seconds > maxTTL:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	token := fmt.Sprintf("token-%d", len(s.requests))
	s.tokens[token] = time.Now().Add(time.Duration(seconds) * time.Second)
	w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl)
	fmt.Fprint(w, token)
}

// admit holds a request to its session token. The caller holds the lock.
func (s *Service) admit(w http.ResponseWriter, r *http.Request) bool {
	s.note(r)
	if time.Now().Before(s.tokens[r.Header.Get("X-Aws-Ec2-Metadata-Token")]) {
		return true
	}
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

func (s *Service) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.admit(w, r) {
		fmt.Fprint(w, RoleName)
	}
}

func (s *Service) credentials(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.admit(w, r) {
		return
	}
	if r.PathValue("role") != RoleName {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	answer := map[string]string{"Code": "Success", "Type": "AWS-HMAC"}
	if s.failure != "" {
		answer = map[string]string{"Code": s.failure, "Message": "EC2 cannot assume the role"}
	} else {
		answer["AccessKeyId"], answer["SecretAccessKey"] = s.role.AccessKeyID, s.role.SecretAccessKey
		answer["Token"], answer["Expiration"] = s.role.SessionToken, s.role.Expiration.Format(time.RFC3339)
	}
	_ = json.NewEncoder(w).Encode(answer) // the client's connection is the client's matter
}
