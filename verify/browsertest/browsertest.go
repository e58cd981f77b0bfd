// Package browsertest drives a headless Chromium in tests of pages, over the
// DevTools protocol on two pipes.
//
// The environment variable HOLDFAST_CHROMIUM names the program; 'make test' sets
// it. No program links this package.
package browsertest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/internal/testenv"
)

// timeout bounds every call.
const timeout = 60 * time.Second

// A Tab is one page in a browser of its own.
type Tab struct {
	t       testing.TB
	in      io.Writer
	out     *bufio.Reader
	session string

	mu       sync.Mutex
	next     int
	pending  map[int]chan reply
	requests []string // every address that the page asked for
	troubles []string // what the console and the security policy complained of
	loaded   chan struct{}
}

type reply struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// Open starts Chromium with an empty page.
func Open(t testing.TB) *Tab {
	t.Helper()
	program := testenv.Need(t, "HOLDFAST_CHROMIUM")
	tab := &Tab{t: t, pending: map[int]chan reply{}, loaded: make(chan struct{}, 1)}
	tab.start(program)
	tab.attach()
	return tab
}

// start runs the browser with the pipes of --remote-debugging-pipe: it reads
// file descriptor 3 and writes 4.
func (tab *Tab) start(program string) {
	tab.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args := []string{
		"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + filepath.Join(tab.t.TempDir(), "profile"),
		"--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
		"--host-resolver-rules=MAP * ~NOTFOUND",
	}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // Chromium refuses to sandbox root
	}
	cmd := exec.CommandContext(ctx, program, append(args, "about:blank")...)
	ours, theirs := pipe(tab.t), pipe(tab.t)
	cmd.ExtraFiles = []*os.File{ours.read, theirs.write}
	if err := cmd.Start(); err != nil {
		cancel()
		tab.t.Fatalf("starting %s: %v", program, err)
	}
	ours.read.Close()
	theirs.write.Close()
	tab.in, tab.out = ours.write, bufio.NewReader(theirs.read)
	go tab.listen()
	tab.t.Cleanup(func() {
		_ = tab.send("", "Browser.close", nil, nil)
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(timeout):
		}
		cancel()
		ours.write.Close()
		theirs.read.Close()
	})
}

type pipes struct{ read, write *os.File }

func pipe(t testing.TB) pipes {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return pipes{r, w}
}

// listen sorts what the browser says into replies and events.
func (tab *Tab) listen() {
	for {
		message, err := tab.out.ReadBytes(0)
		if err != nil {
			tab.mu.Lock()
			for _, c := range tab.pending {
				close(c)
			}
			tab.pending = map[int]chan reply{}
			tab.mu.Unlock()
			return
		}
		var m struct {
			reply
			ID     int
			Method string
			Params json.RawMessage
		}
		if json.Unmarshal(message[:len(message)-1], &m) != nil {
			continue
		}
		tab.mu.Lock()
		if c, ok := tab.pending[m.ID]; ok && m.ID != 0 {
			c <- m.reply
			delete(tab.pending, m.ID)
		} else {
			tab.event(m.Method, m.Params)
		}
		tab.mu.Unlock()
	}
}

// event notes what a test may want to know.
func (tab *Tab) event(method string, params json.RawMessage) {
	switch method {
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		_ = json.Unmarshal(params, &p)
		tab.requests = append(tab.requests, p.Request.URL)
	case "Log.entryAdded":
		var p struct{ Entry struct{ Level, Text string } }
		_ = json.Unmarshal(params, &p)
		tab.troubles = append(tab.troubles, p.Entry.Level+": "+p.Entry.Text)
	case "Runtime.exceptionThrown", "Audits.issueAdded":
		tab.troubles = append(tab.troubles, string(params))
	case "Page.loadEventFired":
		select {
		case tab.loaded <- struct{}{}:
		default:
		}
	}
}

// send calls a method and decodes its result.
func (tab *Tab) send(session, method string, params, result any) error {
	tab.mu.Lock()
	tab.next++
	id, c := tab.next, make(chan reply, 1)
	tab.pending[id] = c
	tab.mu.Unlock()
	message, err := json.Marshal(struct {
		ID      int    `json:"id"`
		Session string `json:"sessionId,omitempty"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
	}{id, session, method, params})
	if err != nil {
		return err
	}
	if _, err := tab.in.Write(append(message, 0)); err != nil {
		return err
	}
	select {
	case r, ok := <-c:
		switch {
		case !ok:
			return errors.New("the browser is gone")
		case r.Error != nil:
			return errors.New(r.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(r.Result, result)
	case <-time.After(timeout):
		return fmt.Errorf("no answer within %v", timeout)
	}
}

// call is send in the page's session, and the end of the test where it fails.
func (tab *Tab) call(method string, params, result any) {
	tab.t.Helper()
	if err := tab.send(tab.session, method, params, result); err != nil {
		tab.t.Fatalf("%s: %v", method, err)
	}
}

type object = map[string]any

// attach makes a page and listens to it.
func (tab *Tab) attach() {
	tab.t.Helper()
	var target struct{ TargetID string }
	tab.call("Target.createTarget", object{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	tab.call("Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &attached)
	tab.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "Audits", "DOM"} {
		tab.call(domain+".enable", nil, nil)
	}
}

// Visit opens a file and waits until it has loaded.
func (tab *Tab) Visit(file string) {
	tab.t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		tab.t.Fatal(err)
	}
	tab.call("Page.navigate", object{"url": "file://" + path}, nil)
	select {
	case <-tab.loaded:
	case <-time.After(timeout):
		tab.t.Fatal("the page did not load")
	}
}

// Resize sets the window's size in CSS pixels. A width below 700 is a phone.
func (tab *Tab) Resize(width, height int) {
	tab.t.Helper()
	tab.call("Emulation.setDeviceMetricsOverride", object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}, nil)
}

// Prefer sets the color scheme, "light" or "dark".
func (tab *Tab) Prefer(scheme string) {
	tab.t.Helper()
	tab.call("Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Eval evaluates an expression, awaits it, and decodes its value.
func (tab *Tab) Eval(expression string, into any) {
	tab.t.Helper()
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	tab.call("Runtime.evaluate", object{"expression": expression, "returnByValue": true, "awaitPromise": true}, &out)
	if out.ExceptionDetails != nil {
		tab.t.Fatalf("%s: %s", expression, out.ExceptionDetails)
	}
	if err := json.Unmarshal(out.Result.Value, into); err != nil {
		tab.t.Fatalf("%s: %v", expression, err)
	}
}

// Await waits until an expression is true.
func (tab *Tab) Await(expression string) {
	tab.t.Helper()
	deadline := time.Now().Add(timeout)
	for time.Now().Before(deadline) {
		var done bool
		tab.Eval("Boolean("+expression+")", &done)
		if done {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	tab.t.Fatalf("%s: not within %v; console: %v", expression, timeout, tab.Troubles())
}

// Choose gives files to the file input that a selector names.
func (tab *Tab) Choose(selector string, files ...string) {
	tab.t.Helper()
	var root struct{ Root struct{ NodeID int } }
	tab.call("DOM.getDocument", nil, &root)
	var node struct{ NodeID int }
	tab.call("DOM.querySelector", object{"nodeId": root.Root.NodeID, "selector": selector}, &node)
	tab.call("DOM.setFileInputFiles", object{"nodeId": node.NodeID, "files": files}, nil)
}

// Screenshot writes the whole page as a PNG into the test's artifacts, which
// "go test -artifacts" keeps.
func (tab *Tab) Screenshot(name string) {
	tab.t.Helper()
	var shot struct{ Data string }
	tab.call("Page.captureScreenshot", object{"format": "png", "captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tab.t.ArtifactDir(), name+".png"), data, 0o644); err != nil {
		tab.t.Fatal(err)
	}
}

// Requests returns every address that was asked for.
func (tab *Tab) Requests() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.requests...)
}

// Troubles returns what the console and the browser's audits complained of.
func (tab *Tab) Troubles() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.troubles...)
}
