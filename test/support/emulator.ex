defmodule MQTT.Test.Emulator do
  @moduledoc false
  # A virtual machine of its own, with this library and code that runs when its application has started.

  @doc "The program to run for that, and its arguments."
  def command(code) do
    ebin = Path.dirname(:code.which(MQTT.Server))
    code = "{:ok, _} = Application.ensure_all_started(:mqtt)\n" <> code
    {System.find_executable("elixir"), ["-pa", "#{ebin}", "-e", code]}
  end

  @doc "Code for a `listener`, whose clients are only let in, and its `port`."
  def listener do
    ~S"""
    defmodule Sink do
      use MQTT.Server
      def init(_, _), do: {:ok, nil}
    end

    {:ok, listener} = MQTT.Listener.start_link(ip: {127, 0, 0, 1}, port: 0, handler: {Sink, []})
    port = MQTT.Listener.info(listener).port
    """
  end
end
