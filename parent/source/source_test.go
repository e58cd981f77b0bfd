package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"holdfast/enclave/control/message"
	"holdfast/parent/source"
)

func TestALocationNamesASource(t *testing.T) {
	isolate(t)
	for location, want := range map[string]string{
		"bundle.hf":           "bundle.hf",
		"/a/b.hf":             "/a/b.hf",
		"file:/a/b.hf":        "/a/b.hf",
		"file:b.hf":           "b.hf",
		"s3://bucket/key":     "s3://bucket/key",
		"s3://bucket/a/b/key": "s3://bucket/a/b/key",
	} {
		s, err := source.Open(t.Context(), location, source.Options{Region: "eu-central-1"})
		if err != nil || s.String() != want {
			t.Errorf("%q: got %v, %v; want %q", location, s, err, want)
		}
	}
	for _, location := range []string{"", "file:", "s3:", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3:bucket/key", "https://host/x"} {
		if s, err := source.Open(t.Context(), location, source.Options{Region: "eu-central-1"}); err == nil {
			t.Errorf("%q: got %v, want an error", location, s)
		}
	}
}

// isolate keeps the machine's own AWS configuration out of a test.
func isolate(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
	} {
		t.Setenv(name, value)
	}
}

func TestAFileIsRevisedWhenItsBytesAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bundle")
	s := open(t, path, source.Options{})
	if _, _, err := s.Get(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	write(t, path, "one")
	data, first, err := s.Get(t.Context())
	if err != nil || string(data) != "one" {
		t.Fatalf("got %q, %v", data, err)
	}
	write(t, path, "two")
	if _, second, err := s.Get(t.Context()); err != nil || second == first {
		t.Errorf("revision %q after %q, %v", second, first, err)
	}
	write(t, path, "one")
	if _, again, err := s.Get(t.Context()); err != nil || again != first {
		t.Errorf("revision %q, want %q again, %v", again, first, err)
	}
}

func TestAFileThatIsNoBundleIsRefused(t *testing.T) {
	dir := t.TempDir()
	empty, large, pipe := filepath.Join(dir, "empty"), filepath.Join(dir, "large"), filepath.Join(dir, "pipe")
	write(t, empty, "")
	write(t, large, "x")
	if err := os.Truncate(large, message.MaxBundleSize+1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{empty: "empty", large: "larger than 16777216", pipe: "not a regular file", dir: "not a regular file"} {
		if data, _, err := open(t, path, source.Options{}).Get(t.Context()); err == nil || !strings.Contains(err.Error(), want) || data != nil {
			t.Errorf("%s: got %d bytes, %v; want %q", filepath.Base(path), len(data), err, want)
		}
	}
	if err := os.Truncate(large, message.MaxBundleSize); err != nil {
		t.Fatal(err)
	}
	if data, _, err := open(t, large, source.Options{}).Get(t.Context()); err != nil || len(data) != message.MaxBundleSize {
		t.Errorf("the largest: got %d bytes, %v", len(data), err)
	}
}

func open(t *testing.T, location string, options source.Options) source.Source {
	t.Helper()
	s, err := source.Open(t.Context(), location, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// store starts a local S3 with a bucket named "bundles". The requests' paths and outcomes are noted.
func store(t *testing.T, versions bool) (*s3mem.Backend, *outcomes, source.Options) {
	t.Helper()
	isolate(t)
	backend := s3mem.New()
	if err := backend.CreateBucket("bundles"); err != nil {
		t.Fatal(err)
	}
	if versions {
		if err := backend.SetVersioningConfiguration("bundles", gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}); err != nil {
			t.Fatal(err)
		}
	}
	var seen outcomes
	serve := gofakes3.New(backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve.ServeHTTP(&noter{ResponseWriter: w, request: r, seen: &seen}, r)
	}))
	t.Cleanup(server.Close)
	return backend, &seen, source.Options{Region: "eu-central-1", Endpoint: server.URL}
}

// outcomes are requests and the status of their answers.
type outcomes struct {
	mu  sync.Mutex
	all []string
}

// A noter notes the status before the client can see it.
type noter struct {
	http.ResponseWriter
	request *http.Request
	seen    *outcomes
	noted   bool
}

func (n *noter) note(code int) {
	if n.noted {
		return
	}
	n.noted = true
	n.seen.mu.Lock()
	defer n.seen.mu.Unlock()
	n.seen.all = append(n.seen.all, fmt.Sprint(n.request.Method, " ", n.request.URL.Path, " ", code))
}

func (n *noter) WriteHeader(code int) {
	n.note(code)
	n.ResponseWriter.WriteHeader(code)
}

func (n *noter) Write(p []byte) (int, error) {
	n.note(http.StatusOK)
	return n.ResponseWriter.Write(p)
}

func put(t *testing.T, backend *s3mem.Backend, data []byte) {
	t.Helper()
	if _, err := backend.PutObject("bundles", "hoodi/bundle.hf", map[string]string{}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		t.Fatal(err)
	}
}

func TestAnObjectIsFetchedAgainOnlyWhenItChanged(t *testing.T) {
	for _, versions := range []bool{false, true} {
		t.Run(fmt.Sprint("versions ", versions), func(t *testing.T) {
			backend, seen, options := store(t, versions)
			s := open(t, "s3://bundles/hoodi/bundle.hf", options)
			var revisions []string
			for _, text := range []string{"one", "one", "two"} {
				if len(revisions) != 1 { // the second time the object is what it was
					put(t, backend, []byte(text))
				}
				data, revision, err := s.Get(t.Context())
				if err != nil || string(data) != text {
					t.Fatalf("got %q, %v; want %q", data, err, text)
				}
				revisions = append(revisions, revision)
			}
			if revisions[0] != revisions[1] || revisions[1] == revisions[2] {
				t.Errorf("revisions %q", revisions)
			}
			get := "GET /bundles/hoodi/bundle.hf "
			if want := []string{get + "200", get + "304", get + "200"}; !slices.Equal(seen.all, want) {
				t.Errorf("requests %q, want %q", seen.all, want)
			}
		})
	}
}

func TestAnObjectThatIsNoBundleIsRefused(t *testing.T) {
	backend, _, options := store(t, false)
	s := open(t, "s3://bundles/hoodi/bundle.hf", options)
	if _, _, err := s.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "NoSuchKey") {
		t.Errorf("absent: %v", err)
	}
	put(t, backend, nil)
	if _, _, err := s.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("empty: %v", err)
	}
	put(t, backend, make([]byte, message.MaxBundleSize+1))
	if data, _, err := s.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") || data != nil {
		t.Errorf("large: %v", err)
	}
	put(t, backend, make([]byte, message.MaxBundleSize))
	if data, _, err := s.Get(t.Context()); err != nil || len(data) != message.MaxBundleSize {
		t.Errorf("the largest: %d bytes, %v", len(data), err)
	}
}

// scripted gives one result after the other, and the last for ever.
type scripted struct {
	mu      sync.Mutex
	results []source.Revised
	calls   int
}

func (*scripted) String() string { return "the script" }

func (s *scripted) Get(context.Context) ([]byte, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.results[min(s.calls, len(s.results)-1)]
	s.calls++
	return r.Data, r.Revision, r.Err
}

func TestAWatchHandsOnChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := source.Revised{Data: []byte("1"), Revision: "1"}, source.Revised{Data: []byte("2"), Revision: "2"}
		down, gone := source.Revised{Err: errors.New("down")}, source.Revised{Err: errors.New("gone")}
		s := &scripted{results: []source.Revised{down, down, one, one, two, two, down, gone, gone, two, two}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Millisecond)
		defer cancel()
		var seen []string
		source.Watch(ctx, s, time.Second, func(r source.Revised) {
			seen = append(seen, fmt.Sprint(r.Revision, r.Err))
		})
		said := func(what string) string { return "bundle from the script: " + what }
		want := []string{said("down"), "1<nil>", "2<nil>", said("down"), said("gone"), "2<nil>"}
		if !slices.Equal(seen, want) {
			t.Errorf("got %q, want %q", seen, want)
		}
		if s.calls != 21 {
			t.Errorf("asked %d times in 20 s, want 21", s.calls)
		}
	})
}
