package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// minDisk holds the kernel's and the emulator's unpacked sources with their
	// objects, two toolchains and the packages.
	minDisk = 10 << 30

	// minMemory runs two compilers beside the linker.
	minMemory = 2 << 30
)

// Finding is what Diagnose learned about one thing that builds need.
type Finding struct {
	Name   string
	OK     bool
	Detail string
	Remedy string // what to do about it; empty if OK
}

// Diagnose looks at what builds need of this machine: user namespaces, the Go
// toolchain, room in the cache directory, memory. /dev/kvm is reported for
// information and is always OK.
func Diagnose(ctx context.Context, cacheDir string) []Finding {
	return []Finding{
		findNamespaces(),
		findGo(ctx),
		findDisk(cacheDir),
		findMemory("/proc/meminfo"),
		findKVM("/dev/kvm"),
	}
}

// WriteReport prints the findings, a line each, with the remedies below.
func WriteReport(w io.Writer, findings []Finding) error {
	b := bufio.NewWriter(w)
	for _, f := range findings {
		mark := "ok  "
		if !f.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(b, "%s  %-16s  %s\n", mark, f.Name, f.Detail)
		if f.Remedy != "" {
			fmt.Fprintf(b, "      hint: %s\n", f.Remedy)
		}
	}
	return b.Flush()
}

func findNamespaces() Finding {
	f := Finding{Name: "user namespaces", OK: true, Detail: "a sandbox can be made"}
	err := Check()
	if err == nil {
		return f
	}
	f.OK, f.Detail = false, err.Error()
	var forbidden *ForbiddenError
	if errors.As(err, &forbidden) {
		f.Detail, f.Remedy = forbidden.Reason, forbidden.Remedy
	}
	return f
}

func findGo(ctx context.Context) Finding {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return Finding{Name: "Go", Detail: err.Error(), Remedy: "install Go from https://go.dev/dl and put it in PATH"}
	}
	return Finding{Name: "Go", OK: true, Detail: strings.TrimSpace(string(out))}
}

func findDisk(dir string) Finding {
	f := Finding{Name: "disk"}
	var st unix.Statfs_t
	existing := existingParent(dir)
	if err := unix.Statfs(existing, &st); err != nil {
		f.Detail = fmt.Sprintf("%s: %v", existing, err)
		f.Remedy = "set HOLDFAST_CACHE to a directory that can be read"
		return f
	}
	free := st.Bavail * uint64(st.Bsize)
	f.OK = free >= minDisk
	f.Detail = fmt.Sprintf("%s free for the cache in %s", gibibytes(free), dir)
	if !f.OK {
		f.Remedy = fmt.Sprintf("free %s there, or set HOLDFAST_CACHE to a directory on another disk", gibibytes(minDisk))
	}
	return f
}

// existingParent returns the deepest directory on the way to dir that exists.
func existingParent(dir string) string {
	for {
		parent := filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil || parent == dir {
			return dir
		}
		dir = parent
	}
}

func findMemory(meminfo string) Finding {
	f := Finding{Name: "memory"}
	available, err := memAvailable(meminfo)
	if err != nil {
		f.Detail = err.Error()
		f.Remedy = "mount /proc"
		return f
	}
	f.OK = available >= minMemory
	f.Detail = gibibytes(available) + " available"
	if !f.OK {
		f.Remedy = fmt.Sprintf("end other programs, until %s are available", gibibytes(minMemory))
	}
	return f
}

// memAvailable reads MemAvailable, proc_meminfo(5), in bytes.
func memAvailable(meminfo string) (uint64, error) {
	b, err := os.ReadFile(meminfo)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseUint(fields[1], 10, 53)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no MemAvailable", meminfo)
}

func findKVM(device string) Finding {
	f := Finding{Name: "KVM", OK: true, Detail: device + " can be used"}
	if err := unix.Access(device, unix.R_OK|unix.W_OK); err != nil {
		f.Detail = fmt.Sprintf("%s: %v; not needed: the emulator interprets instructions itself", device, err)
	}
	return f
}

func gibibytes(n uint64) string {
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
