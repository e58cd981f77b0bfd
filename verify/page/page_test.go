package page_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/browsertest"
	"holdfast/verify/evidence"
	"holdfast/verify/outcome"
	"holdfast/verify/page"
	"holdfast/verify/pcrs"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var nonce = bytes.Repeat([]byte{0xa5}, 32)

// A scene is a verification to show.
type scene struct {
	module  nsmtest.Options
	change  func(*attestation.Options)
	subject string
}

// scenes have each verdict, and names that try to break out of the page.
var scenes = map[string]scene{
	"pass":       {},
	"fail":       {module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {9}, 1: {2}, 2: {3}}}},
	"debug":      {module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {}, 1: {}, 2: {}}}},
	"incomplete": {change: func(o *attestation.Options) { o.Policy.AtDocumentTime, o.Policy.Nonce = true, nil }},
	"emulated":   {module: nsmtest.Options{Emulated: true}, change: func(o *attestation.Options) { o.UnsafeAcceptEmulated = true }},
	"forged": {subject: `https://evil.example"><script>alert(1)</script>`, module: nsmtest.Options{Mutate: func(t *nsmtest.Template) {
		t.Signed = func(s []byte) []byte { s[50] ^= 1; return s }
	}}},
}

// published lists the image {1} {2} {3}.
func published(t testing.TB) *pcrs.File {
	t.Helper()
	f, err := (&pcrs.File{}).WithImage("v1.2.0", pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: pcrs.PCR{1}, PCR1: pcrs.PCR{2}, PCR2: pcrs.PCR{3}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// render makes the page of a scene.
func render(t testing.TB, name string) []byte {
	t.Helper()
	s := scenes[name]
	s.module.Now = func() time.Time { return noon }
	if s.module.PCRs == nil {
		s.module.PCRs = map[int]nsm.Digest{0: {1}, 1: {2}, 2: {3}}
	}
	module, err := nsmtest.New(s.module)
	if err != nil {
		t.Fatal(err)
	}
	bound := binding.Binding{TLSKey: []byte("key"), HPKEKey: make([]byte, binding.HPKEKeySize)}
	digest := bound.Digest()
	raw, err := module.Device().Attest(context.Background(), nsm.Request{UserData: digest[:], Nonce: nonce})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(module.Root().Raw)
	trust, err := chain.NewTrust(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: module.Root().Raw}), hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	options := attestation.Options{Trust: trust, Policy: judgement.Policy{
		Measurements: published(t), Nonce: nonce, Now: noon, MaxAge: time.Minute, Binding: bound.Encode(), TLSKey: bound.TLSKey,
	}}
	if s.change != nil {
		s.change(&options)
	}
	if s.subject == "" {
		s.subject = "https://signer.example:9000"
	}
	o := outcome.Outcome{Subject: s.subject, AsOf: outcome.FormatTime(noon), Result: attestation.Verify(raw, options, nil)}
	var b bytes.Buffer
	p := page.Page{Outcome: o, Hints: o.Hints(), Document: raw, Published: published(t), Evidence: []evidence.File{
		{Name: "document.cbor", Data: raw}, {Name: "PCRS.md", Data: published(t).Bytes()}, {Name: `"><b>.bin`, Data: []byte{0, 255}},
	}}
	if err := page.Write(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEveryVerdictHasItsWord(t *testing.T) {
	for name, want := range map[string]string{
		"pass": "<h1>PASS</h1>", "fail": "<h1>FAIL</h1>", "debug": "<h1>FAIL</h1>", "forged": "<h1>FAIL</h1>",
		"incomplete": "<h1>INCOMPLETE</h1>", "emulated": "<h1>UNSAFE</h1>",
	} {
		got := string(render(t, name))
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %s", name, want)
		}
		if claims := strings.Contains(got, `class="claims"`); claims != (name != "pass") {
			t.Errorf("%s: says that these are claims: %v", name, claims)
		}
	}
}

func TestEveryCheckIsOnThePage(t *testing.T) {
	got := string(render(t, "pass"))
	if n := strings.Count(got, `<th scope="row">`); n != 48 {
		t.Errorf("got %d checks, want 48", n)
	}
	for _, id := range []string{"A1", "C7", "S1", "D1", "E9", "P1"} {
		if !strings.Contains(got, `<th scope="row">`+id+`</th>`) {
			t.Errorf("no %s", id)
		}
	}
}

func TestMeasurementsThatDifferAreMarked(t *testing.T) {
	if got := string(render(t, "pass")); strings.Contains(got, "<mark>") || strings.Count(got, ">equal</b>") != 3 {
		t.Error("equal measurements are not shown as equal")
	}
	got := string(render(t, "fail"))
	if n := strings.Count(got, "<mark>"); n != 2 || !strings.Contains(got, "<mark>09000000</mark>") || !strings.Contains(got, "<mark>01000000</mark>") {
		t.Errorf("got %d marks, want one on each side", n)
	}
}

func TestWhatTheServerSaysStaysText(t *testing.T) {
	got := string(render(t, "forged"))
	if strings.Contains(got, "<script") || strings.Contains(got, "<b>.bin") {
		t.Error("markup from outside is markup on the page")
	}
	if !strings.Contains(got, "&lt;script&gt;") {
		t.Error("the subject is gone")
	}
}

var (
	external = regexp.MustCompile(`(?i)(src|srcset|action|poster)=|url\(|@import|<(script|img|iframe|object|embed|link|form|base)\b|javascript:`)
	link     = regexp.MustCompile(`href="([^"]*)"`)
)

func TestThePageNeedsNothingButItself(t *testing.T) {
	for name := range scenes {
		got := string(render(t, name))
		if found := external.FindString(got); found != "" {
			t.Errorf("%s: found %q", name, found)
		}
		for _, m := range link.FindAllStringSubmatch(got, -1) {
			if !strings.HasPrefix(m[1], "data:application/octet-stream;base64,") {
				t.Errorf("%s: a link to %.40s", name, m[1])
			}
		}
	}
}

func TestThePolicyAllowsTheStyleAndNothingElse(t *testing.T) {
	got := string(render(t, "pass"))
	sum := sha256.Sum256([]byte(page.Stylesheet()))
	want := "default-src &#39;none&#39;; style-src &#39;sha256-" + strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;") + "&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;"
	if !strings.Contains(got, want) {
		t.Errorf("no policy %s", want)
	}
	if !strings.Contains(got, "<style>"+page.Stylesheet()+"</style>") {
		t.Error("the style is not the one whose hash is allowed")
	}
	if strings.Contains(got, "style=") {
		t.Error("a style beside the sheet")
	}
}

func TestTheEvidenceCanBeTakenOut(t *testing.T) {
	got := string(render(t, "pass"))
	m := link.FindStringSubmatch(got)
	encoded := strings.TrimPrefix(m[1], "data:application/octet-stream;base64,")
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(encoded, "&#43;", "+"))
	if err != nil || len(raw) < 4000 || raw[0] != 0x84 {
		t.Errorf("got %d bytes, %v", len(raw), err)
	}
}

func TestAPageWithoutADocumentHasAVerdict(t *testing.T) {
	var b bytes.Buffer
	o := outcome.Outcome{Subject: "noise", Result: evidence.VerifyInput([]byte("noise"), attestation.Options{})}
	if err := page.Write(&b, page.Page{Outcome: o}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "<h1>FAIL</h1>") || strings.Contains(got, `id="chain"`) || strings.Contains(got, `id="measurements"`) {
		t.Error("a document is shown that is none")
	}
}

func TestTheSameInputGivesTheSamePage(t *testing.T) {
	raw, err := os.ReadFile("../attestation/testdata/marlin1.bin")
	if err != nil {
		t.Fatal(err)
	}
	var pages [2]bytes.Buffer
	for i := range pages {
		o := outcome.Outcome{Subject: "marlin1.bin", AsOf: "then", Result: attestation.Verify(raw, attestation.Options{}, nil)}
		if err := page.Write(&pages[i], page.Page{Outcome: o, Document: raw, Published: published(t)}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(pages[0].Bytes(), pages[1].Bytes()) {
		t.Error("two pages differ")
	}
}

// TestThePageInABrowser looks at every scene in Chromium, on a desk and on a
// phone, by day and by night.
func TestThePageInABrowser(t *testing.T) {
	tab := browsertest.Open(t)
	dir := t.TempDir()
	for name := range scenes {
		file := filepath.Join(dir, name+".html")
		if err := os.WriteFile(file, render(t, name), 0o644); err != nil {
			t.Fatal(err)
		}
		tab.Visit(file)
		grounds := map[string]bool{}
		for _, scheme := range []string{"light", "dark"} {
			tab.Prefer(scheme)
			for device, width := range map[string]int{"desk": 1280, "phone": 390} {
				tab.Resize(width, 900)
				checkLook(t, tab, name+" "+device+" "+scheme, width)
				tab.Screenshot(name + "-" + device + "-" + scheme)
			}
			var ground string
			tab.Eval("getComputedStyle(document.body).backgroundColor", &ground)
			grounds[ground] = true
		}
		if len(grounds) != 2 {
			t.Errorf("%s: the same ground by day and by night: %v", name, grounds)
		}
	}
	if got := tab.Troubles(); len(got) != 0 {
		t.Errorf("the browser complains: %v", got)
	}
	for _, url := range tab.Requests() {
		if !strings.HasPrefix(url, "file://"+dir+"/") {
			t.Errorf("the page asked for %s", url)
		}
	}
}

// contrast computes the least contrast, as WCAG 2 defines it, between a text and
// the ground behind it.
const contrast = `(() => {
  const parse = c => c.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = 21;
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    least = Math.min(least, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return least;
})()`

// checkLook holds the page to what a reader needs: nothing beyond the edge, the
// verdict in sight, and text that stands out from its ground.
func checkLook(t *testing.T, tab *browsertest.Tab, what string, width int) {
	t.Helper()
	var scroll int
	tab.Eval("document.documentElement.scrollWidth", &scroll)
	if scroll > width {
		t.Errorf("%s: %d pixels wide, want %d", what, scroll, width)
	}
	var top float64
	tab.Eval("document.querySelector('h1').getBoundingClientRect().bottom + scrollY", &top)
	if top <= 0 || top > 300 {
		t.Errorf("%s: the verdict ends at %.0f pixels, want it on top", what, top)
	}
	var least float64
	tab.Eval(contrast, &least)
	if least < 4.5 {
		t.Errorf("%s: a contrast of %.2f, want 4.5", what, least)
	}
}
