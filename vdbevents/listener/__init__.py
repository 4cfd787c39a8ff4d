"""The daemon that writes down what VideoDB sends."""
