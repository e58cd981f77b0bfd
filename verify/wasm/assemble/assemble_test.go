package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/browsertest"
	"holdfast/verify/drop"
	"holdfast/verify/evidence"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

const vectors = "../../attestation/testdata/"

// marlinMeasurements is a PCRS.md that lists the image of marlin1.bin.
func marlinMeasurements(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile(vectors + "marlin1.bin")
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.Parse(raw, &report.Report{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: d.PCRs[0], PCR1: d.PCRs[1], PCR2: d.PCRs[2]})
	if err != nil {
		t.Fatal(err)
	}
	return f.Bytes()
}

// built makes the page once for all tests.
var built = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "assemble-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "verify.html")
	var log bytes.Buffer
	if err := run(context.Background(), []string{"-o", out, "-pcrs", filepath.Join(dir, "none")}, &log); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

func builtPage(t testing.TB) string {
	t.Helper()
	data, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestThePageNeedsNothingButItself(t *testing.T) {
	got := builtPage(t)
	// What the support script or the program says is no markup.
	shell := regexp.MustCompile(`(?s)<script[^>]*>.*?</script>`).ReplaceAllString(got, "<script></script>")
	if found := regexp.MustCompile(`(?i)\b(src|srcset|href|action)=|url\(|@import|<(img|iframe|object|embed|link|form|base)\b`).FindString(shell); found != "" {
		t.Errorf("found %q", found)
	}
	if n := strings.Count(got, "<script"); n != 3 {
		t.Errorf("got %d scripts, want the program, its support and the page's own", n)
	}
}

func TestThePageHoldsTheWholeProgram(t *testing.T) {
	m := regexp.MustCompile(`(?s)id="program">([^<]*)</script>`).FindStringSubmatch(builtPage(t))
	if m == nil {
		t.Fatal("no program")
	}
	packed, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	program, err := io.ReadAll(z)
	if err != nil || !bytes.HasPrefix(program, []byte("\x00asm")) {
		t.Errorf("got %d bytes, %v", len(program), err)
	}
}

func TestThePolicyAllowsTheScriptsOfThePageAndNoConnection(t *testing.T) {
	got := builtPage(t)
	m := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(got)
	if m == nil {
		t.Fatal("no policy")
	}
	policy := html.UnescapeString(m[1])
	for _, want := range []string{"default-src 'none'", "connect-src 'none'", "form-action 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	for _, bad := range []string{"unsafe-inline", "'unsafe-eval'", "http", "*", "data:", "blob:"} {
		if strings.Contains(policy, bad) {
			t.Errorf("the policy %q allows %s", policy, bad)
		}
	}
	for _, script := range regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(got, -1) {
		sum := sha256.Sum256([]byte(script[1]))
		if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("the policy does not allow a script of the page, %s", want)
		}
	}
}

func TestTheSameSourceGivesTheSamePage(t *testing.T) {
	again, err := assemble(t.Context(), "none")
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != builtPage(t) {
		t.Error("two pages differ")
	}
}

func TestMeasurementsThatCannotBeReadAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "PCRS.md")
	if err := os.WriteFile(file, []byte("# PCRS\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := assemble(t.Context(), file); err == nil {
		t.Error("put into the page")
	}
	if err := os.WriteFile(file, marlinMeasurements(t), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := readPublished(file); err != nil || !bytes.Equal(got, marlinMeasurements(t)) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestThePageVerifiesInABrowser drops documents on the page and compares what
// it shows with what the same code says outside of the browser.
func TestThePageVerifiesInABrowser(t *testing.T) {
	tab := browsertest.Open(t)
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	marlin, err := os.ReadFile(vectors + "marlin1.bin")
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(marlin)
	forged[len(forged)-1] ^= 1
	measurements := put("PCRS.md", marlinMeasurements(t))
	page := put("verify.html", []byte(builtPage(t)))
	tab.Visit(page)
	tab.Await("!document.getElementById('files').disabled")
	for _, test := range []struct {
		name  string
		files []string
		want  string
	}{
		{"an archived document", []string{put("marlin1.bin", marlin), measurements}, "INCOMPLETE"},
		{"in base64", []string{put("marlin1.b64", []byte(base64.StdEncoding.EncodeToString(marlin))), measurements}, "INCOMPLETE"},
		{"without measurements", []string{put("alone.bin", marlin)}, "FAIL"},
		{"forged", []string{put("forged.bin", forged), measurements}, "FAIL"},
		{"noise", []string{put("noise.bin", []byte("hello")), measurements}, "FAIL"},
	} {
		tab.Choose("#files", test.files...)
		last := filepath.Base(test.files[0])
		tab.Await("document.getElementById('state').textContent.startsWith(" + quote(last) + ")")
		var word, shown string
		tab.Eval("document.querySelector('#report h1').textContent", &word)
		tab.Eval("document.querySelector('#report main').outerHTML", &shown)
		if word != test.want {
			t.Errorf("%s: got %s, want %s", test.name, word, test.want)
		}
		if want := outside(t, test.files); !strings.Contains(normal(want), normal(regexp.MustCompile(`(?s)<section aria-labelledby="checks">.*</section>`).FindString(shown))) {
			t.Errorf("%s: the page shows other checks than the verifier outside of it", test.name)
		}
	}
	tab.Choose("#files", measurements)
	tab.Await("!document.getElementById('error').hidden")
	var problem string
	tab.Eval("document.getElementById('error').textContent", &problem)
	if !strings.Contains(problem, "no attestation document") {
		t.Errorf("got %q", problem)
	}
	checkLooks(t, tab, put("again.bin", marlin), measurements)
	for _, url := range tab.Requests() {
		if url != "file://"+page {
			t.Errorf("the page asked for %s", url)
		}
	}
	if got := tab.Troubles(); len(got) != 0 {
		t.Errorf("the browser complains: %v", got)
	}
	var leaked string
	tab.Eval(`fetch('data:,x').then(() => 'fetched', () => 'refused')`, &leaked)
	if leaked != "refused" {
		t.Error("the policy lets the page fetch")
	}
}

// outside verifies the same files here.
func outside(t *testing.T, paths []string) string {
	t.Helper()
	var files []evidence.File
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, evidence.File{Name: filepath.Base(path), Data: data})
	}
	result, err := drop.Verify(files, drop.Settings{Now: time.Now(), AtDocumentTime: true})
	if err != nil {
		t.Fatal(err)
	}
	return result.HTML
}

// normal brings markup to one spelling: the browser writes entities in its own.
func normal(markup string) string {
	return strings.ReplaceAll(html.UnescapeString(markup), "\u00a0", " ")
}

func quote(s string) string { return "'" + s + "'" }

// checkLooks looks at the page with a report, on a desk and on a phone.
func checkLooks(t *testing.T, tab *browsertest.Tab, files ...string) {
	t.Helper()
	tab.Choose("#files", files...)
	tab.Await("document.querySelector('#report h1')")
	tab.Eval("document.getElementById('wrap').click(), 1", new(int))
	for _, scheme := range []string{"light", "dark"} {
		tab.Prefer(scheme)
		for device, width := range map[string]int{"desk": 1280, "phone": 390} {
			tab.Resize(width, 900)
			var scroll int
			tab.Eval("document.documentElement.scrollWidth", &scroll)
			if scroll > width {
				t.Errorf("%s %s: %d pixels wide, want %d", device, scheme, scroll, width)
			}
			tab.Screenshot("verify-" + device + "-" + scheme)
		}
	}
}
