defmodule MQTT.Test.Residue do
  @moduledoc false
  # What must be gone when a test is over: connections, descriptors, queued bytes, tasks, processes.

  import ExUnit.Assertions

  @gauges [:connections, :descriptors, :queued_bytes, :flushers]

  @doc "The processes there are, once nothing of an earlier test is left."
  def before do
    # The test's supervisor comes with its first child, and stays until the test has ended.
    ExUnit.Callbacks.start_supervised!({Agent, fn -> nil end}, id: __MODULE__)
    eventually(fn -> assert gauges() == zero() end)
    Process.list()
  end

  @doc "Stops the child of that id, after which nothing is left of what came since `before`."
  def assert_none(before) do
    eventually(fn ->
      assert gauges() == zero()
      assert Process.list() -- before == []
    end)
  end

  def gauges, do: Map.take(MQTT.Native.counters_read(), @gauges)

  defp zero, do: Map.new(@gauges, &{&1, 0})

  @doc "Whether a process hibernates: by erlang:hibernate/3, or from OTP 28 on in a function of gen_server's."
  def hibernates?(pid) do
    [status: status, current_function: {_, function, _}] =
      Process.info(pid, [:status, :current_function])

    status == :waiting and function in [:hibernate, :loop_hibernate]
  end

  @doc "Runs `check` until it passes, and at last lets it fail."
  def eventually(check, deadline \\ System.monotonic_time(:millisecond) + 10_000) do
    check.()
  rescue
    error in [ExUnit.AssertionError, MatchError] ->
      if System.monotonic_time(:millisecond) > deadline, do: reraise(error, __STACKTRACE__)
      # Polled with a deadline: nobody tells when a resource has been destroyed.
      receive do
      after
        20 -> eventually(check, deadline)
      end
  end
end
