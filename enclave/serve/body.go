package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// received is a body that has arrived whole.
type received struct {
	*bytes.Reader
	data []byte
}

func (received) Close() error { return nil }

var (
	errBodyTooLarge = fmt.Errorf("want a body of at most %d MiB", maxBodySize>>20)
	errBodiesFull   = errors.New("bodies: too many bytes are under way, try again")
	errBodyCutShort = errors.New("the body did not arrive whole in time")
)

// receive hands on a request once its body has arrived, so that a slow sender
// holds memory for what it has sent and nothing else. The body is gone when next
// returns.
func (s *Server) receive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body, charged, err := s.read(w, r)
		defer s.bodies.Add(-charged)
		defer func() { clear(body[:cap(body)]) }() // it may be a secret
		switch {
		case errors.Is(err, errBodyTooLarge):
			writeError(w, http.StatusRequestEntityTooLarge, err.Error())
		case errors.Is(err, errBodiesFull):
			w.Header().Set("Connection", "close") // the rest stays unread
			s.busy(w, http.StatusServiceUnavailable, "bodies", "too many bytes are under way")
		case err != nil:
			w.Header().Set("Connection", "close")
			s.refuse(w, http.StatusRequestTimeout, "body_timeout", err.Error())
		default:
			r.Body = received{bytes.NewReader(body), body}
			next.ServeHTTP(w, r)
		}
	})
}

// bodyOf returns what receive has read.
func bodyOf(r *http.Request) []byte {
	if body, ok := r.Body.(received); ok {
		return body.data
	}
	return nil
}

// read reads a body and charges the server for the memory that it takes. With an
// error too, what was charged is returned.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (body []byte, charged int64, err error) {
	if r.ContentLength > maxBodySize {
		return nil, 0, errBodyTooLarge
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTime(r))); err != nil {
		return nil, 0, err
	}
	limited := http.MaxBytesReader(w, r.Body, maxBodySize)
	size := int64(unknownSize)
	if r.ContentLength >= 0 {
		size = min(r.ContentLength, readAhead) + 1 // and room to see the end
	}
	for {
		grown := min(max(size, int64(2*cap(body))), maxBodySize+1)
		if charged += grown; s.bodies.Add(grown) > maxBodies {
			return body, charged, errBodiesFull
		}
		next := append(make([]byte, 0, grown), body...)
		clear(body)
		charged -= int64(cap(body))
		s.bodies.Add(-int64(cap(body)))
		if body, err = fill(limited, next); err != nil {
			break
		}
	}
	if err == io.EOF {
		// The next request has a deadline of its own.
		return body, charged, control.SetReadDeadline(time.Time{})
	}
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return body, charged, errBodyTooLarge
	}
	return body, charged, errBodyCutShort
}

// fill reads until body's capacity is full, or returns the error that ends the
// reading.
func fill(from io.Reader, body []byte) ([]byte, error) {
	for len(body) < cap(body) {
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err != nil {
			return body, err
		}
	}
	return body, nil
}

// bodyTime is longer for what may be large.
func bodyTime(r *http.Request) time.Duration {
	if strings.HasPrefix(r.URL.Path, keyManagerPath) {
		return readTimeout
	}
	return bodyTimeout
}

// afford hands on a request when there is memory for the work on its body.
func (s *Server) afford(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := int64(len(bodyOf(r)))
		need := min(workPerByte*size, maxWorkPerBody) + 2*size
		if !s.work.TryAcquire(need) && !s.await(r.Context(), need) {
			s.busy(w, http.StatusServiceUnavailable, "memory", "too much work is under way")
			return
		}
		defer s.work.Release(need)
		next.ServeHTTP(w, r)
	})
}

func (s *Server) await(ctx context.Context, need int64) bool {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	return s.work.Acquire(ctx, need) == nil
}
