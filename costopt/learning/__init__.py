"""Weights that learn: a student imitates its teacher on unlabelled inputs, without anybody's training code.

teaching     the task: be like the teacher (imitation: its outputs; hidden, attention: what it holds inside; labels)
pairing      teacher and student side by side; students: one of the user's own
training     the loop, whatever the task; acceleration: where and in which number format; resuming: after kill -9
shuffling    what is learned from, in which order; augmentation, padding: more inputs, shorter ones
fake_quantization   rounding in place while it learns
"""
