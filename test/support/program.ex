defmodule MQTT.Test.Program do
  @moduledoc false
  # A program that runs beside the test, and the lines that it writes.

  import ExUnit.Assertions

  @enforce_keys [:port, :os_pid]
  defstruct @enforce_keys

  @doc "Runs a program with its arguments."
  def open({program, arguments}) do
    options = [:binary, :exit_status, :stderr_to_stdout, line: 1_000, args: arguments]
    port = Port.open({:spawn_executable, program}, options)
    # It is nil when it has ended already.
    %__MODULE__{port: port, os_pid: with({:os_pid, pid} <- Port.info(port, :os_pid), do: pid)}
  end

  @doc "Runs a program until its output has a line that matches; and what the pattern caught in it."
  def start(command, pattern, timeout \\ 10_000) do
    program = open(command)
    {program, await(program, pattern, timeout)}
  end

  @doc "What a pattern catches in the first line that matches. Lines before it are passed over."
  def await(program, pattern, timeout \\ 10_000), do: await(program, pattern, timeout, [])

  defp await(%{port: port} = program, pattern, timeout, lines) do
    receive do
      {^port, {:data, {:eol, line}}} ->
        case Regex.run(pattern, line) do
          [_, caught] -> caught
          nil -> await(program, pattern, timeout, [line | lines])
        end

      {^port, {:exit_status, status}} ->
        flunk("ended with #{status} before it said #{inspect(pattern)}:#{last(lines)}")
    after
      timeout -> flunk("nothing like #{inspect(pattern)} within #{timeout} ms:#{last(lines)}")
    end
  end

  @doc "All further lines of a program that ends with this status."
  def lines(program, status \\ 0) do
    {lines, ended} = lines_and_status(program, [])
    if ended == status, do: lines, else: flunk("ended with #{ended}:#{last(Enum.reverse(lines))}")
  end

  defp lines_and_status(%{port: port} = program, lines) do
    receive do
      {^port, {:data, {:eol, line}}} -> lines_and_status(program, [line | lines])
      {^port, {:exit_status, status}} -> {Enum.reverse(lines), status}
    after
      60_000 -> flunk("did not end:#{last(lines)}")
    end
  end

  @doc "Sends it a signal, such as \"TERM\"."
  def signal(%{os_pid: pid}, name), do: {_, 0} = System.cmd("kill", ["-#{name}", "#{pid}"])

  @doc "Kills it, and gives the lines that it had written."
  def kill(program) do
    signal(program, "KILL")
    # 128 and the signal's number.
    lines(program, 137)
  end

  defp last(lines), do: lines |> Enum.take(20) |> Enum.reverse() |> Enum.map_join(&("\n" <> &1))
end
