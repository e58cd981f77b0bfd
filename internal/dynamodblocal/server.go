// Package dynamodblocal runs Amazon's DynamoDB Local, the real Java program, for tests and demonstrations.
//
// The program and its Java are pinned by hash and prepared by `image env`. It runs in the sandbox, which has
// no network: a Unix socket leads to it, and on the host a loopback listener of ours leads to that, so that
// the address stays the same when the program is killed and started again.
//
// Starting takes a few seconds of CPU: a package's tests share one server ([Shared]). Programs that use this
// package call sandbox.Init first.
package dynamodblocal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"holdfast/image/sandbox"
)

const (
	startTimeout = 90 * time.Second // a JVM on a machine with much else to do
	socketName   = "dynamodb.sock"
	runTarget    = "/run/dynamodb"
	dataTarget   = "/data"
	jarsTarget   = "/dynamodb"
)

// startServer joins the socket to the program's port. The program is the sandbox's command: the socket's end
// dies with it. The small heap and the first compiler alone start it fastest.
const startServer = `socat UNIX-LISTEN:` + runTarget + `/` + socketName + `,fork,backlog=1024 TCP:127.0.0.1:8000 &
exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dsqlite4java.library.path=` + jarsTarget + ` -cp '` + jarsTarget + `/*' \
	com.amazonaws.services.dynamodbv2.local.main.ServerRunner -port 8000 -sharedDb -disableTelemetry "$@"`

// Config says what to run. Root and Dir come from `image env`.
type Config struct {
	Root string // sandbox root with Java: HOLDFAST_DYNAMODB_ROOT
	Dir  string // the program's files: HOLDFAST_DYNAMODB_DIR

	// Data is the directory of the database, which outlives the server. Empty keeps the tables in memory.
	Data string
}

// A Server is DynamoDB Local, and the address that leads to it.
type Server struct {
	config   Config
	run      string   // directory of the socket
	handle   *os.File // of run: a socket's path has 108 bytes at most, and run may be long
	listener net.Listener
	accepted sync.WaitGroup

	mu      sync.Mutex
	program *program // nil while it is not running
}

// A program is one run of DynamoDB Local.
type program struct {
	process *sandbox.Process
	kill    context.CancelFunc
	log     *log
}

// Start runs DynamoDB Local and returns when it answers. Close ends it; it dies with the caller too.
func Start(ctx context.Context, c Config) (*Server, error) {
	run, err := os.MkdirTemp("", "dynamodb-")
	if err != nil {
		return nil, err
	}
	handle, err := os.Open(run)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(run))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, handle.Close(), os.RemoveAll(run))
	}
	s := &Server{config: c, run: run, handle: handle, listener: l}
	s.accepted.Go(func() { s.Serve(l) })
	if err := s.Restart(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Endpoint is the server's address as the AWS SDK wants it. It stays the same across Kill and Restart.
func (s *Server) Endpoint() string { return "http://" + s.listener.Addr().String() }

// Dial connects to the program.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", s.handle.Fd(), socketName)
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

// Serve leads every connection that l accepts to the program, until l closes. With a TLS listener it gives
// the program the TLS that it lacks.
func (s *Server) Serve(l net.Listener) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		connections.Go(func() { s.relay(c) })
	}
}

// relay copies both ways until either side ends: HTTP needs no half-closed connection.
func (s *Server) relay(c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	program, err := s.Dial(ctx)
	if err != nil {
		return // a closed connection is what a dead server looks like
	}
	defer program.Close()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{c, program}, {program, c}} {
		go func() {
			io.Copy(pair[0], pair[1])
			done <- struct{}{}
		}()
	}
	<-done
	c.Close()
	program.Close()
	<-done
}

// Kill ends the program by SIGKILL, as kill -9 does, and returns when it is gone. The database stays as it
// was at that instant; without Config.Data it is lost.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.program == nil {
		return
	}
	s.program.kill()
	s.program.process.Wait()
	s.program = nil
}

// Restart kills the program if it runs, starts it, and returns when it answers.
func (s *Server) Restart(ctx context.Context) error {
	s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(filepath.Join(s.run, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p, err := s.launch()
	if err != nil {
		return err
	}
	if err := s.await(ctx, p); err != nil {
		p.kill()
		return fmt.Errorf("starting DynamoDB Local: %w\n%s", errors.Join(err, p.process.Wait()), p.log)
	}
	s.program = p
	return nil
}

func (s *Server) launch() (*program, error) {
	binds := []sandbox.Bind{
		{Source: s.config.Dir, Target: jarsTarget},
		{Source: s.run, Target: runTarget, Writable: true},
	}
	storage := []string{"-inMemory"}
	if s.config.Data != "" {
		binds = append(binds, sandbox.Bind{Source: s.config.Data, Target: dataTarget, Writable: true})
		storage = []string{"-dbPath", dataTarget}
	}
	ctx, kill := context.WithCancel(context.Background())
	output := new(log)
	process, err := sandbox.Start(ctx, sandbox.Spec{
		Root:   s.config.Root,
		Binds:  binds,
		Env:    []string{"PATH=/usr/lib/jvm/java-17-openjdk-amd64/bin:/usr/bin"},
		Args:   append([]string{"/bin/sh", "-c", startServer, "sh"}, storage...),
		Stdout: output,
		Stderr: output,
	})
	if err != nil {
		kill()
		return nil, err
	}
	return &program{process: process, kill: kill, log: output}, nil
}

// await asks until the program answers, or ends.
func (s *Server) await(ctx context.Context, p *program) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("no answer for %v", startTimeout))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	go func() {
		p.process.Wait()
		stop(errors.New("the program ended"))
	}()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// answers tells whether the program speaks HTTP. Any status will do: an unsigned request is refused.
func (s *Server) answers(ctx context.Context) bool {
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
			DisableKeepAlives: true,
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dynamodb/", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil
}

// Close ends the program and everything that leads to it.
func (s *Server) Close() error {
	s.Kill()
	err := s.listener.Close()
	s.accepted.Wait()
	return errors.Join(err, s.handle.Close(), os.RemoveAll(s.run))
}

// A log keeps the beginning of what the program prints, for the error of a failed start.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p[:min(len(p), max(0, 1<<16-l.text.Len()))])
	return len(p), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.text.String())
}
