package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
)

func TestEveryMountIsRestricted(t *testing.T) {
	for _, m := range mountTable() {
		want := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC)
		if m.kind != "devtmpfs" {
			want |= unix.MS_NODEV
		}
		if m.flags&want != want {
			t.Errorf("%s: got flags %#x, want %#x among them", m.target, m.flags, want)
		}
		if m.kind == "tmpfs" && (!strings.Contains(m.data, "size=") || !strings.Contains(m.data, "nr_inodes=")) {
			t.Errorf("%s: got %q, want bounds", m.target, m.data)
		}
		if m.kind == "sysfs" && m.flags&unix.MS_RDONLY == 0 {
			t.Errorf("%s is writable", m.target)
		}
	}
}

func TestTheTableIsMountedInOrder(t *testing.T) {
	var targets []string
	said, err := mountAll(mountTable(), func(_, target, _ string, _ uintptr, _ string) error {
		targets = append(targets, target)
		return nil
	})
	want := "/dev /proc /sys /run /tmp"
	if got := strings.Join(targets, " "); err != nil || got != want || said != want {
		t.Errorf("got %q, said %q, %v, want %q", got, said, err, want)
	}
}

func TestAMountThatFailsStopsTheBoot(t *testing.T) {
	for _, failing := range mountTable() {
		for errno, fatal := range map[unix.Errno]bool{unix.ENODEV: true, unix.EBUSY: failing.kind != "devtmpfs"} {
			_, err := mountAll(mountTable(), func(_, target, _ string, _ uintptr, _ string) error {
				if target == failing.target {
					return errno
				}
				return nil
			})
			if fatal != errors.Is(err, errno) || (err != nil && !strings.Contains(err.Error(), failing.target)) {
				t.Errorf("%s: %v: got %v, want fatal %t", failing.target, errno, err, fatal)
			}
		}
	}
}

func TestTheRootIsRemountedReadOnly(t *testing.T) {
	var got mount
	err := sealRoot(func(source, target, kind string, flags uintptr, data string) error {
		got = mount{source, target, kind, flags, data}
		return unix.EPERM
	})
	want := mount{target: "/", flags: unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV}
	if err != unix.EPERM || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// sysfs makes a /sys whose generator is the one given.
func sysfs(t *testing.T, content string) string {
	t.Helper()
	sys := t.TempDir()
	folder := filepath.Join(sys, "class/misc/hw_random")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "rng_current"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return sys
}

func TestOnlyTheModulesGeneratorIsAccepted(t *testing.T) {
	if _, err := checkGenerator(sysfs(t, "nsm-hwrng\n")); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"", "\n", "none\n", "virtio_rng.0\n", "nsm-hwrng2\n", "nsm-hwrng\n\n", " nsm-hwrng\n"} {
		if _, err := checkGenerator(sysfs(t, other)); err == nil || !strings.Contains(err.Error(), "nsm-hwrng") {
			t.Errorf("%q: got %v, want the wanted generator named", other, err)
		}
	}
	if _, err := checkGenerator(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestTheModulesEntropyIsCredited(t *testing.T) {
	module, err := nsmtest.New(nsmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	open := func() (*nsm.Device, error) { return module.Device(), nil }
	var credited []byte
	said, err := seed(open, func(random []byte) error {
		credited = bytes.Clone(random)
		return nil
	})
	if err != nil || said != "credited 512 bits" {
		t.Errorf("got %q, %v", said, err)
	}
	if len(credited) != 64 || bytes.Equal(credited, make([]byte, 64)) {
		t.Errorf("got %x, want 64 bytes of entropy", credited)
	}
	if _, err := module.Device().Random(t.Context(), 1); err == nil {
		t.Error("the device was left open")
	}
}

func TestABootWithoutEntropyFails(t *testing.T) {
	cause := errors.New("no entropy")
	if _, err := seed(func() (*nsm.Device, error) { return nil, cause }, nil); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	module, err := nsmtest.New(nsmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	open := func() (*nsm.Device, error) { return module.Device(), nil }
	if _, err := seed(open, func([]byte) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	if _, err := seed(open, func([]byte) error { return nil }); err == nil {
		t.Error("got no error from a closed module")
	}
}

func TestThePoolIsToldBitsAndBytes(t *testing.T) {
	info := poolInfo([]byte{0xaa, 0xbb, 0xcc, 0xdd})
	bits, size := binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:])
	if bits != 32 || size != 4 || !bytes.Equal(info[8:], []byte{0xaa, 0xbb, 0xcc, 0xdd}) {
		t.Errorf("got %d bits, %d bytes, %x", bits, size, info[8:])
	}
}

func TestTheClockIsLeftAloneWhereThereIsNoDevice(t *testing.T) {
	said, err := setClock(filepath.Join(t.TempDir(), "ptp0"), func(time.Time) error {
		t.Error("the clock was set")
		return nil
	})
	if err != nil || !strings.HasPrefix(said, "left alone") {
		t.Errorf("got %q, %v", said, err)
	}
}

func TestADeviceThatIsNoClockFails(t *testing.T) {
	if _, err := setClock(os.DevNull, func(time.Time) error { return nil }); err == nil {
		t.Error("got no error")
	}
}

func TestAClockBeforeThisProgramWasWrittenIsRefused(t *testing.T) {
	var set time.Time
	remember := func(now time.Time) error { set = now; return nil }
	if _, err := applyClock(earliest.Add(-time.Second), remember); err == nil || !set.IsZero() {
		t.Errorf("got %v and clock %v", err, set)
	}
	now := time.Date(2027, 3, 1, 1, 2, 3, 4, time.UTC)
	said, err := applyClock(now, remember)
	if err != nil || !set.Equal(now) || said != "set to 2027-03-01T01:02:03.000000004Z" {
		t.Errorf("got %q, %v and clock %v, want %v", said, err, set, now)
	}
	if _, err := applyClock(now, func(time.Time) error { return unix.EPERM }); !errors.Is(err, unix.EPERM) {
		t.Errorf("got %v, want %v", err, unix.EPERM)
	}
}

func TestTheConsoleGetsALineWithTheUptime(t *testing.T) {
	var out bytes.Buffer
	console{out: &out, uptime: func() time.Duration { return 1234567 * time.Microsecond }}.say("clock: %s", "left alone")
	if got, want := out.String(), "[   1.235] init: clock: left alone\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if uptime() <= 0 {
		t.Error("this machine has no uptime")
	}
}

func TestLoopbackIsUpAfterwards(t *testing.T) {
	// It is up on any machine that runs tests, so nothing changes. Without
	// CAP_NET_ADMIN the kernel refuses even that.
	said, err := loopbackUp()
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		return
	}
	lo, lookup := net.InterfaceByName("lo")
	if err != nil || lookup != nil || said != "lo is up" || lo.Flags&net.FlagUp == 0 {
		t.Errorf("got %q, %v, interface %+v, %v", said, err, lo, lookup)
	}
}

func TestTheStepsComeInAnOrderThatHolds(t *testing.T) {
	var names []string
	for _, s := range boot() {
		names = append(names, s.name)
	}
	// Entropy before anything makes a key; the heartbeat before the
	// application, which is told who answered; the root sealed before it runs.
	want := "mounts console network entropy entropy clock heartbeat root application application"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
