package main

import (
	"context"
	"errors"
)

func runOnHost(context.Context, options) (int, error) { return 0, errors.New("host: not yet") }
