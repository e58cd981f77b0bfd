package debian

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/image/cache"
	"holdfast/image/progress"
)

const (
	// parallelFetches keeps a mirror's link busy without being a burden to it.
	parallelFetches = 4
	// connectTimeout bounds dialling, the TLS handshake and the wait for a response's header, each.
	connectTimeout = 15 * time.Second
	// defaultIdleTimeout is how long a body may stand still.
	defaultIdleTimeout = 30 * time.Second
	// attemptsPerURL is one try and one more where the network failed.
	attemptsPerURL = 2
)

// A Fetcher brings locked files into a cache. Only Cache is required.
type Fetcher struct {
	Cache   *cache.Cache
	Mirrors []Mirror // tried in order, those of the file's archive

	Snapshot    string        // base URL tried last, by SHA-1; empty means SnapshotArchive
	IdleTimeout time.Duration // how long a download may stand still; zero means 30 s
}

// Fetch returns the cached files of a set, in the set's order, downloading what is missing. Every file
// has been hashed when Fetch returns. The error of a file that nobody has names the file, the hash
// wanted and, for every URL tried, what came of it.
func (f *Fetcher) Fetch(ctx context.Context, s Set, stage *progress.Stage) ([]string, error) {
	if f.Cache == nil {
		return nil, errors.New("fetcher without a cache")
	}
	paths := make([]string, len(s.Files))
	meter := newMeter(s.Files, stage)
	client := f.client()
	defer client.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelFetches)
	for i, file := range s.Files {
		g.Go(func() error {
			path, err := f.fetchFile(ctx, client, file, meter)
			paths[i] = path
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return paths, nil
}

func (f *Fetcher) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: connectTimeout,
		MaxIdleConnsPerHost:   parallelFetches,
		DisableCompression:    true, // the hash is of the bytes as they lie in the archive
	}}
}

func (f *Fetcher) fetchFile(ctx context.Context, client *http.Client, file File, m *meter) (string, error) {
	if path, ok, err := f.Cache.Lookup(file.SHA256); err != nil || ok {
		m.add(file.Size)
		return path, err
	}
	failure := &FetchError{File: file}
	for _, u := range f.urls(file) {
		path, err := f.try(ctx, client, u, file, m)
		if err == nil {
			return path, nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("fetch %s: %w", file, context.Cause(ctx))
		}
		failure.Attempts = append(failure.Attempts, Attempt{URL: redact(u), Err: err})
	}
	return "", failure
}

// urls lists where a file may be: on the mirrors of its archive, then in the snapshot archive.
func (f *Fetcher) urls(file File) []string {
	var urls []string
	for _, m := range f.Mirrors {
		if m.Archive == file.Archive {
			urls = append(urls, m.URL+"/"+file.Path)
		}
	}
	if file.SHA1 == "" {
		return urls
	}
	snapshot := f.Snapshot
	if snapshot == "" {
		snapshot = SnapshotArchive
	}
	return append(urls, snapshot+"/file/"+file.SHA1)
}

// try downloads from one URL, a second time where the network failed in the middle.
func (f *Fetcher) try(ctx context.Context, client *http.Client, u string, file File, m *meter) (string, error) {
	for attempt := 1; ; attempt++ {
		path, err := f.Cache.AddObject(file.SHA256, func(w io.Writer) error {
			counted := m.file()
			_, err := f.download(ctx, client, u, file.Size, file.SHA256, io.MultiWriter(w, counted))
			if err != nil {
				counted.undo()
			}
			return err
		})
		if err == nil || attempt == attemptsPerURL || ctx.Err() != nil || !isNetworkError(err) {
			return path, err
		}
	}
}

// A digest holds the hashes of what was downloaded.
type digest struct{ sha256, sha1 string }

// download writes exactly size bytes with that SHA-256 to w, or fails.
func (f *Fetcher) download(ctx context.Context, client *http.Client, u string, size int64, want string, w io.Writer) (digest, error) {
	body, err := f.open(ctx, client, u)
	if err != nil {
		return digest{}, err
	}
	defer body.Close()
	h, h1 := sha256.New(), sha1.New()
	n, err := io.Copy(io.MultiWriter(w, h, h1), io.LimitReader(body, size+1))
	if err != nil {
		return digest{}, fmt.Errorf("after %d of %d bytes: %w", n, size, err)
	}
	got := digest{sha256: hex.EncodeToString(h.Sum(nil)), sha1: hex.EncodeToString(h1.Sum(nil))}
	switch {
	case n > size:
		return digest{}, fmt.Errorf("longer than the locked %d bytes", size)
	case n < size:
		return digest{}, &networkError{fmt.Errorf("got %d of %d bytes, sha256 %s", n, size, got.sha256)}
	case got.sha256 != want:
		return digest{}, &cache.HashError{Got: got.sha256, Want: want}
	}
	return got, nil
}

// open requests a URL and returns its body, whose reads fail once it stands still for too long.
func (f *Fetcher) open(ctx context.Context, client *http.Client, u string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, &networkError{withoutURL(err)}
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		cancel(nil)
		return nil, &statusError{resp.StatusCode}
	}
	idle := f.IdleTimeout
	if idle == 0 {
		idle = defaultIdleTimeout
	}
	return newIdleBody(ctx, cancel, resp.Body, idle), nil
}

// An idleBody cancels its request when no byte arrives for a while.
type idleBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

func newIdleBody(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, idle time.Duration) *idleBody {
	stalled := fmt.Errorf("no data for %v", idle)
	return &idleBody{
		ReadCloser: body, ctx: ctx, cancel: cancel, idle: idle,
		timer: time.AfterFunc(idle, func() { cancel(stalled) }),
	}
}

func (b *idleBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.timer.Reset(b.idle)
	if err == nil || err == io.EOF {
		return n, err
	}
	if b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, &networkError{err}
}

func (b *idleBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// A networkError may pass when the same URL is asked again.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }

// isNetworkError tells what is worth a second try from what is not, such as a wrong hash.
func isNetworkError(err error) bool {
	var n *networkError
	return errors.As(err, &n)
}

// A statusError is an answer other than 200.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("HTTP %d %s", e.code, http.StatusText(e.code))
}

// withoutURL drops the URL that net/http puts before an error, since the caller names it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// redact hides a password that an apt source may carry in its URL.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(malformed URL)"
	}
	return u.Redacted()
}

// An Attempt is one URL that did not give the file.
type Attempt struct {
	URL string
	Err error
}

// A FetchError says that no source had a file, and why, source by source.
type FetchError struct {
	File     File
	Attempts []Attempt
}

func (e *FetchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "fetch %s: no source has it with sha256 %s", e.File, e.File.SHA256)
	for _, a := range e.Attempts {
		fmt.Fprintf(&b, "\n  %s: %v", a.URL, a.Err)
	}
	fmt.Fprintf(&b, "\n  hint: name another mirror in %s or %s", MirrorVariable, SecurityMirrorVariable)
	return b.String()
}

// A meter adds up the bytes of concurrent downloads for one stage.
type meter struct {
	stage *progress.Stage
	total int64
	done  atomic.Int64
}

func newMeter(files []File, stage *progress.Stage) *meter {
	m := &meter{stage: stage}
	for _, f := range files {
		m.total += f.Size
	}
	return m
}

func (m *meter) add(n int64) { m.stage.Update(m.done.Add(n), m.total, "bytes") }

// file returns a writer that counts one download.
func (m *meter) file() *counter { return &counter{meter: m} }

type counter struct {
	meter *meter
	n     int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.meter.add(int64(len(p)))
	return len(p), nil
}

// undo takes back what a failed download had counted.
func (c *counter) undo() { c.meter.add(-c.n) }
