defmodule MQTT.Server.Events.Handler do
  @moduledoc false
  # A module with callbacks, and which of the optional ones it has.

  @optional [
    handle_subscribe: 4,
    handle_unsubscribe: 3,
    handle_auth: 3,
    handle_disconnect: 3,
    handle_delivered: 3,
    handle_delivery: 4,
    handle_dropped: 5
  ]

  @enforce_keys [:module, :optional, :handle_publish, :handle_info]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          module: module,
          optional: [atom],
          handle_publish: (iodata, iodata, map, term -> term),
          handle_info: (term, term -> term)
        }

  @doc """
  What is known of a module, the same term for all connections, which is on the heap of none. Made anew when the
  module has been loaded anew.
  """
  @spec of(module) :: t
  def of(module) do
    md5 = module.module_info(:md5)

    case :persistent_term.get({__MODULE__, module}, nil) do
      {^md5, handler} ->
        handler

      _ ->
        :persistent_term.put({__MODULE__, module}, {md5, new(module)})
        of(module)
    end
  end

  defp new(module) do
    optional = for {name, arity} <- @optional, function_exported?(module, name, arity), do: name

    # Each of these is looked up once, where a call by the module's name would be for each message.
    %__MODULE__{
      module: module,
      optional: optional,
      handle_publish: Function.capture(module, :handle_publish, 4),
      handle_info: Function.capture(module, :handle_info, 2)
    }
  end
end
