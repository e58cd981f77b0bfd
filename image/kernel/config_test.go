package kernel_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/image/kernel"
	"holdfast/internal/testenv"
)

func TestTheReviewedConfigurationHoldsTheInvariants(t *testing.T) {
	if err := kernel.CheckConfig(kernel.Resolved()); err != nil {
		t.Error(err)
	}
}

func TestTheReviewedConfigurationGrantsTheFragments(t *testing.T) {
	if err := kernel.CheckGranted(kernel.Fragment(), kernel.Resolved()); err != nil {
		t.Error(err)
	}
}

func TestTheBuiltConfigurationIsTheReviewedOne(t *testing.T) {
	path := testenv.Need(t, "HOLDFAST_KERNEL_CONFIG")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := kernel.CheckConfig(config); err != nil {
		t.Error(err)
	}
	if err := kernel.CheckSame(kernel.Resolved(), config); err != nil {
		t.Error(err)
	}
}

func TestEachRuleIsSoundAndEnforced(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range kernel.Rules() {
		t.Run(r.Option, func(t *testing.T) {
			if seen[r.Option] {
				t.Error("there are two rules for this option")
			}
			seen[r.Option] = true
			if len(r.Reason) < 5 {
				t.Errorf("reason is %q", r.Reason)
			}
			err := kernel.CheckConfig(breach(kernel.Resolved(), r))
			if err == nil || !strings.Contains(err.Error(), "CONFIG_"+r.Option+" is ") {
				t.Errorf("a breach gives %v", err)
			}
		})
	}
	if len(seen) < 150 {
		t.Errorf("there are %d rules", len(seen))
	}
}

// breach returns a configuration in which one rule does not hold.
func breach(config []byte, r kernel.Rule) []byte {
	line := regexp.MustCompile(`(?m)^(CONFIG_` + r.Option + `=.*|# CONFIG_` + r.Option + ` is not set)$`)
	broken := "CONFIG_" + r.Option + "=y"
	if r.Value == "y" {
		broken = "# CONFIG_" + r.Option + " is not set"
	}
	rest := line.ReplaceAll(config, []byte("#"))
	return append(rest, broken+"\n"...)
}

func TestCheckConfigNamesEveryBreach(t *testing.T) {
	config := kernel.Resolved()
	for _, edit := range [][2]string{
		{"CONFIG_NSM=y", "# CONFIG_NSM is not set"},
		{"# CONFIG_MODULES is not set", "CONFIG_MODULES=y"},
		{"CONFIG_NR_CPUS=64", "CONFIG_NR_CPUS=2"},
	} {
		if !bytes.Contains(config, []byte(edit[0])) {
			t.Fatalf("configuration lacks %q", edit[0])
		}
		config = bytes.Replace(config, []byte(edit[0]), []byte(edit[1]), 1)
	}
	err := kernel.CheckConfig(config)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"CONFIG_NSM is n, want y: ", "CONFIG_MODULES is y, want n: ", "CONFIG_NR_CPUS is 2, want 64: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 2 {
		t.Errorf("error has %d lines, want 3", n+1)
	}
}

func TestAModuleIsNotBuiltIn(t *testing.T) {
	config := bytes.Replace(kernel.Resolved(), []byte("CONFIG_NSM=y"), []byte("CONFIG_NSM=m"), 1)
	if err := kernel.CheckConfig(config); err == nil || !strings.Contains(err.Error(), "CONFIG_NSM is m, want y") {
		t.Errorf("got %v", err)
	}
}

func TestAnEmptyConfigurationFails(t *testing.T) {
	if err := kernel.CheckConfig(nil); err == nil {
		t.Error("accepted")
	}
}

func TestMalformedConfigurationsFail(t *testing.T) {
	for name, config := range map[string]string{
		"twice":           "CONFIG_A=y\nCONFIG_A=y\n",
		"set and not set": "CONFIG_A=y\n# CONFIG_A is not set\n",
		"no value":        "CONFIG_A=\n",
		"no prefix":       "A=y\n",
		"n as a value":    "CONFIG_A=n\n",
		"open string":     "CONFIG_A=\"x\n",
		"trailing space":  "CONFIG_A=y \n",
		"too large":       strings.Repeat("#\n", kernel.MaxConfig),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := kernel.ParseConfig([]byte(config)); err == nil {
				t.Error("accepted")
			}
			if err := kernel.CheckConfig([]byte(config)); err == nil {
				t.Error("CheckConfig accepted it")
			}
		})
	}
}

func TestAnOptionThatWasDroppedIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ asked, got, want string }{
		"dropped":       {"CONFIG_A=y\n", "CONFIG_B=y\n", "CONFIG_A is n, a fragment asks for y"},
		"denied":        {"CONFIG_A=y\n", "# CONFIG_A is not set\n", "CONFIG_A is n, a fragment asks for y"},
		"forced on":     {"# CONFIG_A is not set\n", "CONFIG_A=y\n", "CONFIG_A is y, a fragment asks for n"},
		"changed":       {"CONFIG_A=64\n", "CONFIG_A=8\n", "CONFIG_A is 8, a fragment asks for 64"},
		"string":        {"CONFIG_A=\"\"\n", "CONFIG_A=\"x\"\n", `CONFIG_A is "x", a fragment asks for ""`},
		"granted":       {"CONFIG_A=y\n", "CONFIG_A=y\nCONFIG_B=y\n", ""},
		"absent is off": {"# CONFIG_A is not set\n", "CONFIG_B=y\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := kernel.CheckGranted([]byte(c.asked), []byte(c.got))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAConfigurationThatDiffersFromTheReviewedOneIsNamed(t *testing.T) {
	const reviewed = "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n"
	if err := kernel.CheckSame([]byte(reviewed), []byte("CONFIG_B=y\nCONFIG_A=y\n")); err != nil {
		t.Errorf("order or an absent line matters: %v", err)
	}
	err := kernel.CheckSame([]byte(reviewed), []byte("CONFIG_A=y\nCONFIG_C=y\nCONFIG_D=1\n"))
	for _, want := range []string{"CONFIG_B is n,", "CONFIG_C is y,", "CONFIG_D is 1,"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}

func TestTheCommandLineIsOneThatAnEIFMayCarry(t *testing.T) {
	words := strings.Fields(kernel.CommandLine)
	if strings.Join(words, " ") != kernel.CommandLine {
		t.Errorf("%q has stray spaces", kernel.CommandLine)
	}
	for _, must := range []string{"reboot=k", "panic=1", "pci=off", "console=ttyS0", "random.trust_cpu=on"} {
		if !slices.Contains(words, must) {
			t.Errorf("%q is missing", must)
		}
	}
	if slices.Contains(words, "--") || strings.Contains(kernel.CommandLine, "virtio_mmio.device") {
		t.Error("the hypervisor appends the devices; nothing may go to /init instead")
	}
	// The hypervisor appends a device in some 40 bytes; COMMAND_LINE_SIZE is 2048 on x86.
	if len(kernel.CommandLine) > 256 {
		t.Errorf("%d bytes", len(kernel.CommandLine))
	}
}

func FuzzAConfigurationSurvivesBeingWrittenAgain(f *testing.F) {
	f.Add([]byte("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"a \\\" b\"\nCONFIG_D=-1\nCONFIG_E=0xff\n\n# x\n"))
	f.Add(kernel.Fragment())
	f.Add([]byte("CONFIG_A=y\nCONFIG_A=m\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := kernel.ParseConfig(data)
		if err != nil {
			if first != nil {
				t.Error("options beside an error")
			}
			return
		}
		var b bytes.Buffer
		for name, value := range first {
			if value == "n" {
				fmt.Fprintf(&b, "# CONFIG_%s is not set\n", name)
			} else {
				fmt.Fprintf(&b, "CONFIG_%s=%s\n", name, value)
			}
		}
		second, err := kernel.ParseConfig(b.Bytes())
		if err != nil || !maps.Equal(first, second) {
			t.Errorf("%v became %v (%v)", first, second, err)
		}
	})
}
