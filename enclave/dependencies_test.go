package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What the programs inside the enclave may link, with the reason for each.
var allowed = []struct {
	path   string // a package, or a tree where it ends in /...
	reason string
}{
	{"holdfast/enclave/...", "ours, measured"},
	{"holdfast/verify/binding", "the encoding that the enclave and its verifiers share"},
	{"github.com/supranational/blst/bindings/go", "BLS12-381"},
	{"github.com/mdlayher/vsock", "vsock as net.Listener"},
	{"github.com/mdlayher/socket", "of vsock: sockets on Go's poller"},
	{"golang.org/x/net/bpf", "of socket: types of an option nobody sets"},
	{"golang.org/x/crypto/pbkdf2", "of scrypt"},
	{"golang.org/x/crypto/scrypt", "EIP-2335 keystores"},
	{"golang.org/x/sync/errgroup", "keys opened side by side; of socket: connecting with a context"},
	{"golang.org/x/sync/semaphore", "bounds on memory"},
	{"golang.org/x/text/unicode/norm", "NFKD of keystore passwords"},
	{"golang.org/x/text/transform", "of norm"},
	{"golang.org/x/sys/unix", "system calls"},
	{"github.com/hf/nsm/...", "the exchange with the Nitro Security Module"},
	{"github.com/fxamacker/cbor/v2", "of hf/nsm: the module's encoding"},
	{"github.com/x448/float16", "of cbor"},
	{"github.com/aws/aws-sdk-go-v2/service/dynamodb/...", "slashing records in a table"},
	{"github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding", "of dynamodb: asks for no compression"},
	{"github.com/aws/aws-sdk-go-v2/service/internal/endpoint-discovery", "of dynamodb: not turned on"},
	{"github.com/aws/aws-sdk-go-v2/aws/...", "of the AWS SDK's clients: signatures, errors, which of them may pass"},
	{"github.com/aws/aws-sdk-go-v2/internal/...", "of the AWS SDK's clients"},
	{"github.com/aws/smithy-go/...", "of the AWS SDK's clients: HTTP and JSON"},
}

// What they may not, although it is ours or the standard library's.
var forbidden = []struct{ path, reason string }{
	{"holdfast/enclave/nsm/nsmtest", "a module that vouches for anything"},
	{"holdfast/enclave/slashing/slashingtest", "for tests"},
	{"holdfast/enclave/init", "a program"},
	{"os/exec", "nothing in the enclave starts a program but init, by ForkExec"},
	{"plugin", "code that was not measured"},
	{"net/http/pprof", "shows memory"},
	{"net/http/httptest", "for tests"},
	{"testing", "for tests"},
	{"expvar", "shows variables"},
	{"net/rpc", "registers handlers of its own"},
	{"os/user", "there are no users"},
	{"log/syslog", "there is no syslog"},
	{"text/template", "nothing is rendered"},
	{"encoding/gob", "decodes what it is told to"},
	{"github.com/aws/aws-sdk-go-v2/config", "takes credentials and endpoints from its surroundings"},
	{"github.com/aws/aws-sdk-go-v2/feature/ec2/imds", "the parent's role is not the enclave's"},
	{"github.com/aws/aws-sdk-go-v2/service/sts", "makes credentials of others"},
}

func TestEnclaveDependencies(t *testing.T) {
	checkDependencies(t, "holdfast/enclave", "CGO_ENABLED=1")
}

// The store is held to the rules by itself too: a bundle decides whether it is opened.
func TestDynamoDependencies(t *testing.T) {
	checkDependencies(t, "holdfast/enclave/slashing/dynamo", "CGO_ENABLED=0")
}

func TestInitDependencies(t *testing.T) {
	for _, dependency := range checkDependencies(t, "holdfast/enclave/init", "CGO_ENABLED=0") {
		// Process 1 exchanges one byte with the parent and makes no key.
		if dependency == "net" || dependency == "runtime/cgo" || dependency == "crypto" || strings.HasPrefix(dependency, "crypto/") {
			t.Errorf("init links %s", dependency)
		}
		if strings.HasPrefix(dependency, "holdfast/") && !slices.Contains([]string{"holdfast/enclave/init", "holdfast/enclave/nsm"}, dependency) {
			t.Errorf("init links %s, want the module's package alone", dependency)
		}
	}
}

func checkDependencies(t *testing.T, program, cgo string) []string {
	t.Helper()
	dependencies := list(t, cgo, "{{.ImportPath}}", program)
	if !slices.Contains(dependencies, "runtime") || !slices.Contains(dependencies, program) {
		t.Fatalf("got dependencies %q", dependencies)
	}
	for _, rule := range forbidden {
		if slices.Contains(dependencies, rule.path) && rule.path != program {
			t.Errorf("%s links %s: %s", program, rule.path, rule.reason)
		}
	}
	for _, dependency := range list(t, cgo, "{{if not .Standard}}{{.ImportPath}}{{end}}", program) {
		if !isAllowed(dependency) {
			t.Errorf("%s links %s, which no rule allows", program, dependency)
		}
	}
	return dependencies
}

func isAllowed(dependency string) bool {
	for _, rule := range allowed {
		tree, isTree := strings.CutSuffix(rule.path, "/...")
		if dependency == tree || isTree && strings.HasPrefix(dependency, tree+"/") {
			return true
		}
	}
	return false
}

// list asks the go command, which knows what it links.
func list(t *testing.T, cgo, format, program string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, program)
	command.Env = append(os.Environ(), cgo)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return strings.Fields(string(out))
}

func TestEveryRuleIsNeededAndEveryForbiddenPackageExists(t *testing.T) {
	var linked []string
	for program, cgo := range map[string]string{
		"holdfast/enclave": "CGO_ENABLED=1", "holdfast/enclave/init": "CGO_ENABLED=0", "holdfast/enclave/slashing/dynamo": "CGO_ENABLED=0",
	} {
		linked = append(linked, list(t, cgo, "{{.ImportPath}}", program)...)
	}
	for _, rule := range allowed {
		tree, isTree := strings.CutSuffix(rule.path, "/...")
		if !slices.ContainsFunc(linked, func(p string) bool { return p == tree || isTree && strings.HasPrefix(p, tree+"/") }) {
			t.Errorf("%s is allowed and not linked", rule.path)
		}
	}
	for _, rule := range forbidden {
		if got := list(t, "CGO_ENABLED=1", "{{.ImportPath}}", rule.path); !slices.Contains(got, rule.path) {
			t.Errorf("%s does not exist", rule.path)
		}
	}
}
