package main

import (
	"os/exec"
	"strings"
	"testing"
)

// forbidden lists what the verifier must not contain, and why.
var forbidden = map[string]string{
	"holdfast/enclave":            "an auditor's tool shares no code with what it audits",
	"holdfast/parent":             "the parent is the attacker",
	"holdfast/image":              "the verifier reads PCRS.md and builds nothing",
	"holdfast/verify/enclavetest": "fakes stay out of programs",
	"holdfast/verify/browsertest": "tests stay out of programs",
	"testing":                     "fakes stay out of programs",
	"net/http/httptest":           "fakes stay out of programs",
	"plugin":                      "what runs is what was built",
	"runtime/cgo":                 "the binary must build reproducibly without a C compiler",
}

// allowed lists the modules outside the standard library that the verifier may
// contain.
var allowed = []string{
	"filippo.io/age",               // opens the data key of a bundle
	"filippo.io/hpke",              // of age: post-quantum identities
	"filippo.io/edwards25519",      // of age: SSH keys as identities
	"golang.org/x/crypto",          // of age: ChaCha20-Poly1305, scrypt, SSH's private keys
	"golang.org/x/sys",             // of x/crypto and x/term: what processor and terminal this is
	"golang.org/x/term",            // asks for a passphrase without showing it
	"github.com/hf/nitrite",        // the second opinion
	"github.com/fxamacker/cbor/v2", // used by nitrite alone
	"github.com/x448/float16",      // used by cbor alone
	"golang.org/x/mod/semver",      // the order of releases
}

func dependencies(t *testing.T, pkg string, env ...string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", pkg)
	cmd.Env = append(append(cmd.Environ(), "CGO_ENABLED=0"), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

func TestTheVerifierContainsNothingForbidden(t *testing.T) {
	deps := dependencies(t, ".")
	if len(deps) < 50 {
		t.Fatalf("got %d packages, want a whole program", len(deps))
	}
	for _, dep := range deps {
		for bad, why := range forbidden {
			if dep == bad || strings.HasPrefix(dep, bad+"/") {
				t.Errorf("depends on %s: %s", dep, why)
			}
		}
		if strings.Contains(strings.SplitN(dep, "/", 2)[0], ".") && !isAllowed(dep) {
			t.Errorf("depends on %s, which is not on the list", dep)
		}
	}
}

func TestTheVerifierOfThePageSpeaksToNobody(t *testing.T) {
	deps := dependencies(t, "./wasm", "GOOS=js", "GOARCH=wasm")
	if len(deps) < 50 {
		t.Fatalf("got %d packages, want a whole program", len(deps))
	}
	for _, dep := range deps {
		if strings.HasPrefix(dep, "net/http") || dep == "os/exec" || dep == "holdfast/verify/channel" {
			t.Errorf("depends on %s", dep)
		}
	}
}

func isAllowed(dep string) bool {
	for _, a := range allowed {
		if dep == a || strings.HasPrefix(dep, a+"/") {
			return true
		}
	}
	return false
}

func TestTheBindingNeedsOnlyTheStandardLibrary(t *testing.T) {
	for _, dep := range dependencies(t, "./binding") {
		first, _, _ := strings.Cut(dep, "/")
		if dep != "holdfast/verify/binding" && (first == "holdfast" || strings.Contains(first, ".")) {
			t.Errorf("depends on %s", dep)
		}
	}
}
