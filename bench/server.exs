# A server to be measured. It is that of the MQTT.Server that `elixir -pa` brings: this library's
# or that of 0.2.2.
#
#     server.exs LISTENER [--buffer BYTES] [--nodelay] [--handler native]
#
# With `--handler native` it runs native_handler.ex, which 0.2.2 cannot. LISTENER is `native` for MQTT.Listener, `broker` for MQTT.Broker, which needs no handler, or `gen_tcp`, which gives its sockets to
# MQTT.Server.enter_loop/3. Prints the port and the process id, and ends with its standard input.

defmodule Bench.Server do
  @switches [buffer: :integer, nodelay: :boolean, handler: :string]

  def main([listener | options]) do
    # 0.2.2 crashes when a client leaves in a way it does not know.
    Logger.configure(level: :none)
    # As where it is a dependency; 0.2.2 is a library only.
    _ = Application.ensure_all_started(:mqtt)
    {options, []} = OptionParser.parse!(options, strict: @switches)
    {handler, options} = Keyword.pop(options, :handler)
    handler = handler(handler)
    {:ok, _} = Supervisor.start_link([handler], strategy: :one_for_one)
    IO.puts("#{listen(listener, handler, options)} #{System.pid()}")
    IO.read(:eof)
  end

  defp handler(nil), do: load("handler.ex")
  defp handler("native"), do: load("native_handler.ex")

  defp load(file) do
    [{module, _}] = Code.require_file(file, __DIR__)
    module
  end

  defp listen("native", handler, []) do
    options = [ip: {127, 0, 0, 1}, port: 0, handler: {handler, []}]
    {:ok, listener} = MQTT.Listener.start_link(options)
    MQTT.Listener.info(listener).port
  end

  defp listen("broker", _handler, []) do
    {:ok, _} = MQTT.Broker.start_link(ip: {127, 0, 0, 1}, port: 0, sys_interval: :infinity)
    [%{port: port}] = MQTT.Broker.listeners(MQTT.Broker)
    port
  end

  defp listen("gen_tcp", handler, options) do
    options = [:binary, active: false, ip: {127, 0, 0, 1}, backlog: 1024] ++ options
    {:ok, listener} = :gen_tcp.listen(0, options)
    :proc_lib.spawn_link(fn -> accept(listener, handler) end)
    {:ok, port} = :inet.port(listener)
    port
  end

  defp accept(listener, handler) do
    {:ok, socket} = :gen_tcp.accept(listener)
    pid = :proc_lib.spawn(fn -> serve(socket, handler) end)
    :ok = :gen_tcp.controlling_process(socket, pid)
    send(pid, :yours)
    accept(listener, handler)
  end

  defp serve(socket, handler) do
    receive do: (:yours -> :ok)
    MQTT.Server.enter_loop(handler, [], MQTT.Transport.new(:tcp, socket))
  end
end

Bench.Server.main(System.argv())
