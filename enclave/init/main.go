// Command init is PID 1 of the enclave: ramdisk 0, measured into PCR1 with the
// kernel and its command line.
//
// It mounts what the application needs, refuses to go on without the module's
// entropy, sets the clock, tells the parent that the enclave is up, starts the
// application without a privilege, and reaps until the application ends. Then,
// or at the first error, it reboots, which is how an enclave ends: a fault
// never leaves half an enclave running. There is no shell, no configuration
// and no argument; each step says one line on the console.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"holdfast/enclave/nsm"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: must be process 1 of an enclave")
		os.Exit(2)
	}
	// The Go runtime would end the process at SIGTERM and its like, and the
	// kernel panic with it. Nobody reads the channel: a signal changes nothing.
	// A handler, unlike SIG_IGN, does not pass to the application.
	signal.Notify(make(chan os.Signal, 1))

	log := console{out: os.Stdout, uptime: uptime}
	for _, s := range boot() {
		said, err := s.run()
		if err != nil {
			log.say("%s: %v", s.name, err)
			break
		}
		log.say("%s: %s", s.name, said)
	}
	reboot(log)
}

// A step of the boot returns what the console is to say of it.
type step struct {
	name string
	run  func() (said string, err error)
}

// boot lists the steps in order. The last returns when the application has
// ended.
func boot() []step {
	var parent uint32
	var application int
	return []step{
		{"mounts", func() (string, error) { return mountAll(mountTable(), unix.Mount) }},
		{"console", attachConsole},
		{"network", loopbackUp},
		{"entropy", func() (string, error) { return checkGenerator("/sys") }},
		{"entropy", func() (string, error) { return seed(nsm.Open, creditEntropy) }},
		{"clock", func() (string, error) { return setClock("/dev/ptp0", setRealtime) }},
		{"heartbeat", func() (said string, err error) {
			parent, err = heartbeat(context.Background(), exchangeVsock, parentCIDs)
			return fmt.Sprintf("parent is CID %d", parent), err
		}},
		{"root", func() (string, error) { return "read-only", sealRoot(unix.Mount) }},
		{"application", func() (said string, err error) {
			application, err = start(parent)
			return fmt.Sprintf("started as process %d", application), err
		}},
		{"application", func() (string, error) {
			status, err := reap(application)
			return describe(status), err
		}},
	}
}
