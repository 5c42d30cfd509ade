"""How fast, who did the work, and can the figure be believed?

bench              a candidate beside the original, in turns; stopping, warmup: when it begins to count, and ends
session            the child's side: ONNX Runtime (session_options), PyTorch (torch_session), a server (serving)
noise              what disturbed the machine; noise_rules, stretches: what that means for a number
proof              who did the work (placement), in which number format (precision)
crew, throughput   the whole machine at once; queueing, forecast, rates: requests that come by the clock
tuning, race       which session options are fastest
energy, devices    joules, by counter or by published figures
"""
