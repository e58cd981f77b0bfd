package main

import (
	"context"
	"errors"

	"holdfast/enclave/control/message"
)

func (a *application) Generate(context.Context, message.Generate) (message.Generated, error) {
	return message.Generated{}, errors.New("stub")
}
func (a *application) ImportTables(context.Context, message.Tables) (message.Generated, error) {
	return message.Generated{}, errors.New("stub")
}
