# Machines without IPv6 cannot test it.
exclude =
  case :gen_tcp.listen(0, [:inet6, ip: {0, 0, 0, 0, 0, 0, 0, 1}]) do
    {:ok, socket} -> :gen_tcp.close(socket) && []
    {:error, _} -> [:ipv6]
  end

ExUnit.start(
  assert_receive_timeout: 2_000,
  capture_log: true,
  exclude: exclude,
  formatters: [ExUnit.CLIFormatter, MQTT.Test.ConformanceGuide]
)
