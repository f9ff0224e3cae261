defmodule MQTT.Listener.Options do
  @moduledoc false
  # What a listener does, as one struct.

  alias MQTT.{Options, Server}

  @schema [
    {:handler,
     {:check, &__MODULE__.handler/1,
      "`{module, args}` with a module that implements `MQTT.Server`"}, Options.required(),
     "The module that is called back, and what its `init/2` gets."},
    {:port, {:integer, 0, 65_535}, 1883, "The port; with 0 a free one, which `info/1` tells."},
    {:ip,
     {:check, &__MODULE__.ip/1,
      "an address such as `{127, 0, 0, 1}` or `{0, 0, 0, 0, 0, 0, 0, 1}`"}, {0, 0, 0, 0},
     "The address to listen on: by default all of IPv4, with `{0, 0, 0, 0, 0, 0, 0, 0}` all of IPv6 and IPv4."},
    {:ipv6_only, :boolean, false, "Whether an IPv6 listener leaves IPv4 alone."},
    {:max_connections, :limit, 16_384,
     "Connections that may be open. Each takes a file descriptor: `ulimit -n`."},
    {:max_connections_per_ip, :limit, :infinity,
     "Connections that may be open from one address."},
    {:shutdown_timeout, :timeout, 15_000,
     "How long `terminate/2` may take when the listener stops."},
    {:name, {:check, &__MODULE__.name/1, "an atom, `{:global, term}` or `{:via, module, term}`"},
     nil, "A name for the listener's supervisor."},
    {:id, {:check, &__MODULE__.any/1, "any term"}, nil,
     "The child's id, by default one made of the name, or of the address and port; where the port is 0, a unique one."}
  ]

  @enforce_keys [:handler, :native, :server, :shutdown_timeout, :name]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          handler: {module, term},
          native: map,
          server: Server.Options.t(),
          shutdown_timeout: timeout,
          name: nil | GenServer.name()
        }

  @doc "The options, or an `ArgumentError` that says whose they are."
  @spec new(keyword, String.t()) :: t
  def new(options, owner \\ "MQTT.Listener") do
    options = Options.validate!(options, @schema ++ server_schema(), owner)

    %__MODULE__{
      handler: options.handler,
      native: %{
        ip: options.ip |> :inet.ntoa() |> to_string(),
        port: options.port,
        ipv6_only: options.ipv6_only,
        max_connections: options.max_connections,
        max_connections_per_ip: options.max_connections_per_ip
      },
      server:
        options
        |> Map.put(:keep_socket, false)
        |> Server.Options.from_map(elem(options.handler, 0)),
      shutdown_timeout: options.shutdown_timeout,
      name: options.name
    }
  end

  def schema, do: @schema

  @doc "The options of a connection, without what concerns only sockets that are taken over."
  def server_schema, do: List.keydelete(Server.Options.schema(), :keep_socket, 0)

  def handler({module, _args} = handler) when is_atom(module) do
    if Code.ensure_loaded?(module) and function_exported?(module, :init, 2),
      do: {:ok, handler},
      else: :error
  end

  def handler(_), do: :error

  def ip(ip) do
    if :inet.is_ip_address(ip), do: {:ok, ip}, else: :error
  end

  def name(name) when is_atom(name), do: {:ok, name}
  def name({:global, _} = name), do: {:ok, name}
  def name({:via, module, _} = name) when is_atom(module), do: {:ok, name}
  def name(_), do: :error

  def any(term), do: {:ok, term}
end
