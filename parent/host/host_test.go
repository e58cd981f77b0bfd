package host_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing/journal/wire"
	"holdfast/parent/control/controltest"
	"holdfast/parent/credentials"
	"holdfast/parent/credentials/imdstest"
	"holdfast/parent/egress"
	"holdfast/parent/host"
	"holdfast/parent/source"
)

// A machine runs the double of an enclave behind Unix sockets, one for each vsock port.
type machine struct {
	dir     string
	enclave *controltest.Enclave
}

// start starts a machine whose enclave listens on its control port.
func start(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{dir: dir, enclave: controltest.New()}
	l, err := net.Listen("unix", m.inside(message.Port))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: m.enclave}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return m
}

func (m *machine) inside(port uint32) string {
	return filepath.Join(m.dir, fmt.Sprint("enclave_", port))
}
func (m *machine) outside(port uint32) string {
	return filepath.Join(m.dir, fmt.Sprint("parent_", port))
}

func (m *machine) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", m.inside(port))
}

func (m *machine) Listen(port uint32) (net.Listener, error) {
	return net.Listen("unix", m.outside(port))
}

// call connects to a port of the parent, as the enclave does.
func (m *machine) call(t *testing.T, port uint32) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", m.outside(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// A record is a log that may be read while it is written.
type record struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

// run hosts the machine until the test ends, and returns what was logged.
func run(t *testing.T, m *machine, c host.Config) *record {
	t.Helper()
	log := new(record)
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	h, err := host.Open(m, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Errorf("host: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return log
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func shelve(t *testing.T, path string, bundle []byte) source.Source {
	t.Helper()
	if err := os.WriteFile(path+".new", bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	s, err := source.Open(t.Context(), path, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const planted = "planted-secret"

func TestAnEnclaveIsFedFromAFileAndAnInstancesRole(t *testing.T) {
	m := start(t)
	role := message.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: planted, SessionToken: planted, Expiration: time.Now().Add(50 * time.Minute).UTC().Truncate(time.Second)}
	m.enclave.Open = func(_ message.Bundle, c *message.Credentials) error {
		if c == nil || *c != role {
			return fmt.Errorf("KMS: no credentials")
		}
		return nil
	}
	m.enclave.Log("the enclave says hello")
	path := filepath.Join(m.dir, "bundle")
	configuration := `{"kms":{"endpoint":"https://%s","key":"` + controltest.KMSKey + `"}}`
	kms := echo(t)
	bundle := func(version uint64) []byte {
		return controltest.Bundle("hoodi", version, fmt.Sprintf(configuration, kms))
	}
	lines := make(chan string, 8)
	log := run(t, m, host.Config{
		Bundles: shelve(t, path, bundle(1)), Poll: 20 * time.Millisecond,
		Credentials: credentials.Instance(imdstest.Start(t, role).URL),
		EnclaveLog:  func(line string) { lines <- line },
	})
	await(t, "the first bundle serves", func() bool { return m.enclave.Status().State == message.Serving })
	if line := <-lines; line != "the enclave says hello" {
		t.Errorf("log line %q", line)
	}
	checkEcho(t, m.call(t, egress.KMSPort))
	if conn := m.call(t, egress.DynamoDBPort); !isCut(conn) {
		t.Error("the port for DynamoDB leads somewhere, though the bundle names no table")
	}
	shelve(t, path, bundle(2))
	await(t, "the second bundle serves", func() bool {
		s := m.enclave.Status()
		return s.Bundle != nil && s.Bundle.Version == 2
	})
	if strings.Contains(log.String(), planted) {
		t.Errorf("the log shows a secret:\n%s", log)
	}
}

// echo starts a server that sends back what it gets, and returns its host and port.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); io.Copy(conn, conn) }()
		}
	}()
	return l.Addr().String()
}

func checkEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v; want the echo", got, err)
	}
}

// isCut tells a connection that the parent closes without an answer.
func isCut(conn net.Conn) bool {
	n, err := conn.Read(make([]byte, 1))
	return n == 0 && err != nil && !os.IsTimeout(err)
}

func TestTheOperatorsDestinationGoesBeforeTheBundles(t *testing.T) {
	m := start(t)
	configuration := `{"kms":{"endpoint":"https://kms.invalid","key":"` + controltest.KMSKey + `"}}`
	run(t, m, host.Config{
		Bundles: shelve(t, filepath.Join(m.dir, "bundle"), controltest.Bundle("hoodi", 1, configuration)),
		Egress:  egress.Destinations{KMS: echo(t)},
	})
	await(t, "the bundle is there", func() bool { return len(m.enclave.Bundles()) > 0 })
	checkEcho(t, m.call(t, egress.KMSPort))
}

func TestTheControlSocketReachesTheEnclave(t *testing.T) {
	m := start(t)
	socket := filepath.Join(m.dir, "control")
	run(t, m, host.Config{Control: socket})
	c := client.Unix(socket)
	defer c.Close()
	if s, err := c.Status(t.Context()); err != nil || s.State != message.WaitingForBundle {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestMetricsAreTheEnclavesAndTheParents(t *testing.T) {
	m := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, m, host.Config{
		Metrics: l,
		Bundles: shelve(t, filepath.Join(m.dir, "bundle"), controltest.Bundle("hoodi", 3, "{}")),
	})
	var page string
	await(t, "the metrics tell that it serves", func() bool {
		page = fetch(t, "http://"+l.Addr().String()+"/metrics")
		return strings.Contains(page, "\nholdfast_parent_enclave_serving 1\n")
	})
	for _, want := range []string{
		"holdfast_signatures_total 7\n", "holdfast_parent_enclave_up 1\n", "holdfast_parent_bundle_offered_version 3\n",
		"holdfast_parent_bundle_serving_version 3\n", "holdfast_parent_bundle_serving_keys 1\n", "holdfast_parent_enclave_problem 0\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(data)
}

func TestMetricsTellThatTheEnclaveIsGone(t *testing.T) {
	m := start(t)
	os.Remove(m.inside(message.Port))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, m, host.Config{Metrics: l})
	if page := fetch(t, "http://"+l.Addr().String()+"/metrics"); !strings.Contains(page, "holdfast_parent_enclave_up 0\n") {
		t.Errorf("got\n%s", page)
	}
}

func TestTheJournalIsServed(t *testing.T) {
	m := start(t)
	dir := t.TempDir()
	run(t, m, host.Config{Journal: dir})
	if !refusesGarbage(t, m.call(t, wire.Port)) {
		t.Error("the journal talks to what does not speak its protocol")
	}
}

func refusesGarbage(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: journal\r\n\r\n" + strings.Repeat("x", 1024))); err != nil {
		t.Fatal(err)
	}
	return isCut(conn)
}

func TestWhatCannotBeServedIsSaidBeforeAnythingRuns(t *testing.T) {
	m := start(t)
	file := filepath.Join(m.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]struct {
		host.Config
		want string
	}{
		"no log":             {host.Config{}, "incomplete"},
		"absent journal":     {host.Config{Journal: filepath.Join(m.dir, "absent"), Log: log}, "hint: mkdir"},
		"journal is a file":  {host.Config{Journal: file, Log: log}, "not a directory"},
		"control is a file":  {host.Config{Control: file, Journal: m.dir, Log: log}, "no socket"},
		"control is nowhere": {host.Config{Control: "/absent/control", Log: log}, "no such file"},
	} {
		if _, err := host.Open(m, c.Config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := net.Dial("unix", m.outside(wire.Port)); err == nil {
		t.Error("a listener is left")
	}
}

func TestAFailureOfOneServiceEndsAll(t *testing.T) {
	m := start(t)
	dir := t.TempDir()
	run(t, m, host.Config{Journal: dir})                        // holds the journal
	if conn := m.call(t, wire.Port); !refusesGarbage(t, conn) { // once it answers, it holds the folder
		t.Fatal("the first journal is not served")
	}
	other := start(t)
	h, err := host.Open(other, host.Config{Journal: dir, Control: filepath.Join(other.dir, "control"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context()); err == nil {
		t.Error("two hosts keep one journal")
	}
	if _, err := net.Dial("unix", filepath.Join(other.dir, "control")); err == nil {
		t.Error("the control socket is left")
	}
}
