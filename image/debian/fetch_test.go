package debian_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/image/cache"
	"holdfast/image/debian"
	"holdfast/image/debian/debiantest"
)

// A fetchTest is a fetcher with an empty cache and no mirrors, and one file that it wants.
type fetchTest struct {
	*testing.T
	fetcher  *debian.Fetcher
	cacheDir string
	content  []byte
	set      debian.Set
}

func newFetchTest(t *testing.T) *fetchTest {
	dir := t.TempDir()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("package "), 40_000)
	file := lockedFile("bc", content)
	sum := sha1.Sum(content)
	file.SHA1 = hex.EncodeToString(sum[:])
	f := &debian.Fetcher{Cache: c, Snapshot: serve(t, http.NotFoundHandler())}
	return &fetchTest{T: t, fetcher: f, cacheDir: dir, content: content, set: debian.Set{Name: "tools", Files: []debian.File{file}}}
}

// serve returns the base URL of a server that lives as long as the test.
func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func sends(content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) })
}

func (f *fetchTest) mirror(h http.Handler) string {
	u := serve(f.T, h)
	f.fetcher.Mirrors = append(f.fetcher.Mirrors, debian.Mirror{Archive: debian.ArchiveMain, URL: u})
	return u
}

func (f *fetchTest) fetch() ([]string, error) {
	return f.fetcher.Fetch(f.Context(), f.set, nil)
}

// wantFetched checks that the file comes, and rightly.
func (f *fetchTest) wantFetched() {
	f.Helper()
	paths, err := f.fetch()
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil || !bytes.Equal(data, f.content) {
		f.Errorf("fetched %d bytes (%v), want the %d of the file", len(data), err, len(f.content))
	}
	f.wantObjects(1)
}

// wantFailure checks that fetching fails, that the error says all of want, and that nothing remains.
func (f *fetchTest) wantFailure(want ...string) {
	f.Helper()
	_, err := f.fetch()
	if err == nil {
		f.Fatal("fetched")
	}
	for _, w := range append(want, "bc 1.0-1", f.set.Files[0].SHA256) {
		if !strings.Contains(err.Error(), w) {
			f.Errorf("error lacks %q:\n%v", w, err)
		}
	}
	f.wantObjects(0)
}

func (f *fetchTest) wantObjects(n int) {
	f.Helper()
	for dir, want := range map[string]int{"objects": n, "tmp": 0} {
		entries, err := os.ReadDir(filepath.Join(f.cacheDir, dir))
		if err != nil || len(entries) != want {
			f.Errorf("cache's %s holds %v (%v), want %d", dir, entries, err, want)
		}
	}
}

func TestAFileComesFromAMirrorOnceAndThenFromTheCache(t *testing.T) {
	f := newFetchTest(t)
	a := &debiantest.Archive{}
	a.Put(f.set.Files[0].Path, f.content)
	f.mirror(a)
	f.wantFetched()
	f.wantFetched()
	if got := a.Requests(); len(got) != 1 {
		t.Errorf("the mirror was asked for %q, want one request", got)
	}
}

func TestARottenCacheIsMendedFromAMirror(t *testing.T) {
	f := newFetchTest(t)
	f.mirror(sends(f.content))
	f.wantFetched()
	if err := os.WriteFile(f.fetcher.Cache.Object(f.set.Files[0].SHA256), []byte("rot"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.wantFetched()
}

func TestMirrorsAreTriedInOrderUntilOneHasTheFile(t *testing.T) {
	flipped := bytes.Clone(newFetchTest(t).content)
	flipped[7] ^= 1
	for name, bad := range map[string]http.Handler{
		"not found":    http.NotFoundHandler(),
		"server error": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }),
		"bit flipped":  sends(flipped),
		"too long":     sends(append(bytes.Clone(flipped), 'x')),
		"truncated":    sends(flipped[:100]),
		"empty":        sends(nil),
		"an HTML page": sends([]byte("<html>please log in</html>")),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFetchTest(t)
			f.mirror(bad)
			f.mirror(sends(f.content))
			f.wantFetched()
		})
	}
}

func TestOnlyMirrorsOfTheFilesArchiveAreAsked(t *testing.T) {
	f := newFetchTest(t)
	f.mirror(sends(f.content))
	f.fetcher.Mirrors[0].Archive = debian.ArchiveSecurity
	f.wantFailure("404")
	f.set.Files[0].Archive = debian.ArchiveSecurity
	f.wantFetched()
}

func TestTheSnapshotArchiveIsAskedLastBySHA1(t *testing.T) {
	f := newFetchTest(t)
	f.mirror(http.NotFoundHandler())
	snapshot := &debiantest.Archive{}
	snapshot.Put("file/"+f.set.Files[0].SHA1, f.content)
	f.fetcher.Snapshot = serve(t, snapshot)
	f.wantFetched()
}

func TestTheSnapshotArchiveIsNotTrustedEither(t *testing.T) {
	f := newFetchTest(t)
	f.fetcher.Snapshot = serve(t, sends([]byte(strings.Repeat("x", len(f.content)))))
	f.wantFailure(f.fetcher.Snapshot+"/file/"+f.set.Files[0].SHA1, "sha256 is ")
}

func TestAFailureNamesEverySourceWithItsReason(t *testing.T) {
	f := newFetchTest(t)
	wrong := bytes.Repeat([]byte("x"), len(f.content))
	gone := f.mirror(http.NotFoundHandler())
	other := f.mirror(sends(wrong))
	long := f.mirror(sends(append(wrong, 'x')))
	short := f.mirror(sends(wrong[:5]))
	path := "/" + f.set.Files[0].Path
	f.wantFailure(
		gone+path+": HTTP 404",
		other+path+": sha256 is "+debiantest.SHA256(wrong),
		long+path+": longer than the locked 320000 bytes",
		short+path+": got 5 of 320000 bytes",
		f.fetcher.Snapshot+"/file/"+f.set.Files[0].SHA1+": HTTP 404",
		debian.MirrorVariable)
	var failure *debian.FetchError
	if _, err := f.fetch(); !errors.As(err, &failure) || len(failure.Attempts) != 5 {
		t.Errorf("error %v, want a *FetchError with 5 attempts", err)
	}
}

func TestAPasswordInAMirrorsURLIsNotShown(t *testing.T) {
	f := newFetchTest(t)
	u := strings.Replace(serve(t, http.NotFoundHandler()), "http://", "http://user:hunter2@", 1)
	f.fetcher.Mirrors = []debian.Mirror{{Archive: debian.ArchiveMain, URL: u}}
	f.wantFailure("user:xxxxx@")
	if _, err := f.fetch(); strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestAnEndlessBodyIsCutAtTheLockedSize(t *testing.T) {
	f := newFetchTest(t)
	var sent atomic.Int64
	f.mirror(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 64<<10)
		for range 10_000 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	f.wantFailure("longer than the locked")
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("the mirror could send %d bytes", n)
	}
}

func TestAConnectionThatBreaksIsTriedOnceMore(t *testing.T) {
	f := newFetchTest(t)
	var requests atomic.Int64
	f.mirror(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) > 1 {
			w.Write(f.content)
			return
		}
		breakAfter(w, f.content, 1000)
	}))
	f.wantFetched()
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// breakAfter sends the beginning of a response and closes the connection.
func breakAfter(w http.ResponseWriter, content []byte, n int) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(buf, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(content), content[:n])
	buf.Flush()
	conn.Close()
}

func TestAMirrorThatAlwaysBreaksIsLeftAfterTwoTries(t *testing.T) {
	f := newFetchTest(t)
	var requests atomic.Int64
	f.mirror(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		breakAfter(w, f.content, 1000)
	}))
	f.wantFailure("after 1000 of 320000 bytes")
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestAWrongHashIsNotTriedAgain(t *testing.T) {
	f := newFetchTest(t)
	var requests atomic.Int64
	f.mirror(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Write(bytes.Repeat([]byte("x"), len(f.content)))
	}))
	f.wantFailure("sha256 is")
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestAMirrorThatStallsIsLeft(t *testing.T) {
	f := newFetchTest(t)
	f.fetcher.IdleTimeout = 50 * time.Millisecond
	f.mirror(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(f.content[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	f.wantFailure("no data for 50ms")
	f.mirror(sends(f.content))
	f.wantFetched()
}

func TestNobodyListeningIsAReasonAmongOthers(t *testing.T) {
	f := newFetchTest(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	f.fetcher.Mirrors = []debian.Mirror{{Archive: debian.ArchiveMain, URL: "http://" + l.Addr().String()}}
	f.wantFailure("connection refused")
}

func TestCancellingLeavesNothing(t *testing.T) {
	f := newFetchTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.mirror(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(f.content[:1000])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	if _, err := f.fetcher.Fetch(ctx, f.set, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	f.wantObjects(0)
}

func TestManyFilesComeInTheSetsOrder(t *testing.T) {
	f := newFetchTest(t)
	a := &debiantest.Archive{}
	f.mirror(a)
	f.set.Files = nil
	for i := range 50 {
		content := []byte(fmt.Sprint("content ", i))
		file := lockedFile(fmt.Sprintf("package%02d", i), content)
		a.Put(file.Path, content)
		f.set.Files = append(f.set.Files, file)
	}
	paths, err := f.fetch()
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if want := fmt.Sprint("content ", i); err != nil || string(data) != want {
			t.Errorf("file %d is %q (%v), want %q", i, data, err, want)
		}
	}
}

func TestAFetcherWithoutACacheFails(t *testing.T) {
	if _, err := (&debian.Fetcher{}).Fetch(t.Context(), twoFiles(), nil); err == nil {
		t.Error("fetched into nowhere")
	}
}
