defmodule MQTT.Test.Compat do
  @moduledoc false
  # One test over every way into the server.

  @transports [:tcp, :socket, :ssl, :listener]

  defmacro __using__(_) do
    quote do
      use ExUnit.Case, async: true
      import MQTT.Test.Compat
      import MQTT.Test.Wire
    end
  end

  @doc "Defines the test once for each transport, which it finds as `transport`."
  defmacro test_each(name, pattern \\ quote(do: _), do: block) do
    for transport <- @transports do
      quote do
        @tag transport: unquote(transport)
        test unquote("#{transport}: #{name}"), context do
          unquote(pattern) = context
          var!(transport) = context.transport
          _ = var!(transport)
          unquote(block)
        end
      end
    end
  end

  @doc "Starts a server and gives the port and the options of a client."
  def serve(transport, module, args, opts \\ []) do
    port = MQTT.Test.Acceptor.start([transport: transport, module: module, args: args] ++ opts)
    {port, [tls: transport == :ssl]}
  end
end
