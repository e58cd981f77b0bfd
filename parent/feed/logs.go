package feed

import (
	"context"
	"fmt"
	"time"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
)

// LogSource is what has a log. [client.Client] is one.
type LogSource interface {
	Logs(ctx context.Context, after uint64) (message.Logs, error)
}

var _ LogSource = (*client.Client)(nil)

// logPause is how often new lines are asked for.
const logPause = time.Second

// Collect hands the enclave's log on, line by line, until ctx ends. It tells how many lines were lost, if any.
// While the enclave cannot be reached it waits. A log that has begun anew, as the enclave has, is read from its
// beginning.
func Collect(ctx context.Context, enclave LogSource, emit func(line string)) {
	ticker := time.NewTicker(logPause)
	defer ticker.Stop()
	after := uint64(0)
	for {
		if logs, err := enclave.Logs(ctx, after); err == nil {
			if logs.Dropped > 0 {
				emit(fmt.Sprintf("%d lines were lost", logs.Dropped))
			}
			for _, line := range logs.Lines {
				emit(line)
			}
			after = logs.Next
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
