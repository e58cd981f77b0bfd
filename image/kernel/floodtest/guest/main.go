// Command guest is the /init of a ramdisk that tests the kernel's vsock: it answers floods, and if the
// word peer=CID stands on the kernel command line, which the kernel hands to /init as environment, it
// floods that guest too.
//
// On the console it prints "guest: QUEUED" when all of the flood's requests for connections are with the
// driver, and "guest: PASSED" when all of the flood is through; then it goes on answering. Or it prints
// "guest: FAILED" and why, and resets the machine. Like an enclave it sends the parent a heartbeat once
// it listens.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"holdfast/image/kernel/floodtest"
)

// anyCID is VMADDR_CID_ANY: whatever CID the device gives us (linux/vm_sockets.h).
const anyCID = 0xffffffff

// heartbeatPort is where a parent waits for the heartbeat.
const heartbeatPort = 9000

// floodTime bounds a flood; under emulation it takes some seconds.
const floodTime = 2 * time.Minute

func main() {
	fmt.Printf("guest: started after %v\n", uptime())
	err := run()
	fmt.Printf("guest: FAILED after %v: %v\n", uptime(), err)
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// maxFiles is room for both directions of a peer's flood.
const maxFiles = 1 << 15

// run returns only errors.
func run() error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: maxFiles, Max: maxFiles}); err != nil {
		return err
	}
	l, err := vsock.ListenContextID(anyCID, floodtest.Port, nil)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- floodtest.Serve(l) }()
	fmt.Printf("guest: listening after %v\n", uptime())
	if peer := os.Getenv("peer"); peer == "" {
		heartbeat()
	} else {
		if err := flood(peer); err != nil {
			return err
		}
		fmt.Printf("guest: PASSED after %v\n", uptime())
	}
	return <-served
}

// heartbeat tells the parent, which vhost-device-vsock knows as CID 2, that we are up. Nobody need take it.
func heartbeat() {
	conn, err := vsock.Dial(vsock.Host, heartbeatPort, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	beat := []byte{0xb7}
	conn.SetDeadline(time.Now().Add(floodTime))
	if _, err := conn.Write(beat); err == nil {
		conn.Read(beat)
	}
}

func flood(peer string) error {
	cid, err := strconv.ParseUint(peer, 10, 32)
	if err != nil {
		return fmt.Errorf("peer=%q is no CID: %w", peer, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), floodTime)
	defer cancel()
	var asked atomic.Int64
	return floodtest.FloodPeer(ctx, func(_ context.Context, port uint32) (net.Conn, error) {
		return dial(uint32(cid), port, func() {
			if asked.Add(1) == int64(floodtest.PeerDials()) {
				fmt.Printf("guest: QUEUED after %v\n", uptime())
			}
		})
	})
}

// uptime is the time since the kernel started.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano()).Round(time.Millisecond)
}
