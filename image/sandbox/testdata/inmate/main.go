// Command inmate is what the sandbox's tests run inside: it tells what it sees
// and does as its arguments say. It is built static, so that an empty root
// with this one file in it is enough.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "report":
		return report()
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(code)
	case "signal":
		return raise(args[0])
	case "copy":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "write":
		return os.WriteFile(args[0], []byte(args[1]), 0o666)
	case "read":
		b, err := os.ReadFile(args[0])
		os.Stdout.Write(b)
		return err
	case "family":
		return family(args[0])
	case "leave-orphan":
		return orphan()
	case "sleep":
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "tree":
		return tree(args[0])
	case "trace-init":
		return syscall.PtraceAttach(1)
	case "remount":
		return syscall.Mount("", args[0], "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
	}
	return nil
}

func raise(number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	if err := syscall.Kill(os.Getpid(), syscall.Signal(n)); err != nil {
		return err
	}
	time.Sleep(time.Minute)
	return nil
}

// family starts a process of its own until depth is 0, in a session of its own,
// and sleeps. All hold standard output open.
func family(depth string) error {
	n, err := strconv.Atoi(depth)
	if err != nil {
		return err
	}
	if n == 0 {
		return run("sleep", nil)
	}
	cmd := exec.Command("/proc/self/exe", "family", strconv.Itoa(n-1))
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(time.Hour)
	return nil
}

// orphan leaves a child behind that holds standard output.
func orphan() error {
	cmd := exec.Command("/proc/self/exe", "sleep")
	cmd.Stdout = os.Stdout
	return cmd.Start()
}

type facts struct {
	Args, Env            []string
	Dir                  string
	Hostname, Domainname string
	UID, GID, PID        int
	Umask                int
	Interfaces           map[string]bool // name: is it up
	Status               map[string]string
	Limits               string
	Personality          uintptr
	Root                 []string
	Descriptors          []string
	Processes            []string
	Cgroup               string
}

func report() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	personality, _, _ := syscall.Syscall(syscall.SYS_PERSONALITY, 0xffffffff, 0, 0)
	f := facts{
		Args: os.Args, Env: os.Environ(), Dir: dir,
		Hostname: contents("/proc/sys/kernel/hostname"), Domainname: contents("/proc/sys/kernel/domainname"),
		UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(),
		Interfaces: interfaces(), Status: status(), Limits: contents("/proc/self/limits"),
		Personality: personality, Root: names("/"), Descriptors: names("/proc/self/fd"),
		Processes: processes(), Cgroup: contents("/proc/self/cgroup"),
	}
	f.Umask = syscall.Umask(0)
	return json.NewEncoder(os.Stdout).Encode(f)
}

func contents(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func processes() []string {
	all, _ := filepath.Glob("/proc/[0-9]*")
	return all
}

func interfaces() map[string]bool {
	all, err := net.Interfaces()
	if err != nil {
		return map[string]bool{err.Error(): false}
	}
	up := map[string]bool{}
	for _, i := range all {
		up[i.Name] = i.Flags&net.FlagUp != 0
	}
	return up
}

func status() map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(contents("/proc/self/status"), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			m[name] = strings.TrimSpace(value)
		}
	}
	return m
}

// tree prints the names below dir, with what symbolic links point to.
func tree(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		text, _ := os.Readlink(name)
		fmt.Println(strings.TrimSpace(name + " " + text))
		return nil
	})
}
